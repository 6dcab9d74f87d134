"""Every setting, with its default, meaning and unit; `load_config` reads a YAML file over them.

The key names are the original's, so that its YAML files load here.
"""

import difflib
import math
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import yaml
from yacs.config import CfgNode

from utils.system.errors import UserError
from utils.system.files import expand_user, read_text
from utils.system.logger import get_logger
from utils.system.text import parse_factors

_C = CfgNode()

# ------------------------------------------------------------------------------------------------------------------
# Run
# ------------------------------------------------------------------------------------------------------------------
# Log a line every so many iterations
_C.PRINT_FREQ = 200
# Validate every so many epochs, and after the last one
_C.VAL_FREQ = 1
# Seed of the weights, the paths and every draw of the data
_C.SEED = 3
# auto (CUDA where there is one), cpu or cuda
_C.DEVICE = "auto"
# Time some steps of a run before its first one, in either memory layout, and take the faster: auto (on CUDA), on or off
_C.DEVICE_TUNING = "auto"
# Where run folders go: OUT_DIR/<script>/<config>-<time>/
_C.OUT_DIR = "runs"

# ------------------------------------------------------------------------------------------------------------------
# cuDNN
# ------------------------------------------------------------------------------------------------------------------
_C.CUDNN = CfgNode()
_C.CUDNN.BENCHMARK = True
_C.CUDNN.DETERMINISTIC = False
_C.CUDNN.ENABLED = True

# ------------------------------------------------------------------------------------------------------------------
# Network
# ------------------------------------------------------------------------------------------------------------------
_C.MODEL = CfgNode()
# resnet18, resnet34, vggm: a baseline; supernet: what search.py trains; any other name: the network of a genotype
_C.MODEL.NAME = "network"
# Speakers to tell apart; 0: as many as the index has
_C.MODEL.NUM_CLASSES = 0
# Number of cells
_C.MODEL.LAYERS = 8
# C, the number of channels of the first cell
_C.MODEL.INIT_CHANNELS = 64
# Derived network: drop-path probability that the last epoch approaches, rising linearly from 0
_C.MODEL.DROP_PATH_PROB = 0.2
# What makes the embedding (see models/pooling.py; not for vggm and the supernet): average of the last layer; attentive
# (its mean and deviation, weighted by attention over time); or correlation (means, deviations and correlations over
# time of maps at every depth, of which a linear layer makes 192 values)
_C.MODEL.POOLING = "average"
# Weights to start from: a checkpoint, a run folder, or a file of tensors by name (a ResNet's); empty: from scratch
_C.MODEL.PRETRAINED = ""
# With PRETRAINED: epochs in which all but classifier and pooling stands still, weights and norms; 0: none
_C.MODEL.FREEZE = 0

# ------------------------------------------------------------------------------------------------------------------
# Data
# ------------------------------------------------------------------------------------------------------------------
_C.DATASET = CfgNode()
# The folder that holds wav/ (or dev/wav/ and test/wav/), vox1_meta.csv, iden_split.txt and veri_test.txt
_C.DATASET.DATA_DIR = ""
# Where data_preprocess.py wrote the index; empty: DATA_DIR/feature
_C.DATASET.FEATURE_DIR = ""
# merged: all speakers (identification); dev: without the test speakers (verification)
_C.DATASET.SUB_DIR = "merged"
# Loader processes; 0: load in the main process
_C.DATASET.NUM_WORKERS = 0
# Length of a training crop and of an evaluation window, in frames of 10 ms; windows overlap by half
_C.DATASET.PARTIAL_N_FRAMES = 300
# train.py and train_baseline.py: each batch draws the length of its crops evenly from this to PARTIAL_N_FRAMES; 0: all
# are of PARTIAL_N_FRAMES. Steps are then not compiled, and cuDNN tries no kernels (BENCHMARK), for every length anew
_C.DATASET.PARTIAL_N_FRAMES_MIN = 0
# dev: speakers that are held out, so that the best epoch is chosen by the equal error rate of their trials; -1: 40, or
# a quarter of the speakers where that is fewer; 0: none: it is chosen by Top-1 on held-out videos of those trained on
_C.DATASET.VAL_SPEAKERS = -1
# Trials of theirs at most, half of the same speaker
_C.DATASET.VAL_TRIALS = 10000
# Draws the held-out speakers and their trials; apart from SEED, so that runs with several seeds are chosen alike
_C.DATASET.VAL_SEED = 0
# natural: an epoch has every training utterance once; balanced: as many crops, of every speaker as many as of any other
_C.DATASET.SAMPLING = "natural"
# How both are drawn: random; or hard: speakers with several sessions first, who are then not trained on, and non-target
# trials between speakers of one gender (and nationality, where there are many), as vox1_meta.csv has them
_C.DATASET.VAL_CHOICE = "random"

# ------------------------------------------------------------------------------------------------------------------
# Front end: what networks see; a trained one keeps its own
# ------------------------------------------------------------------------------------------------------------------
_C.FRONTEND = CfgNode()
# magnitude (257 bins of a spectrogram, as the paper), log_magnitude (their natural logarithm), or log_mel (that of the
# power in mel bands)
_C.FRONTEND.FEATURE = "magnitude"
# log_mel: how many bands, from 20 Hz to 8 kHz
_C.FRONTEND.BANDS = 80
# How every bin is normalised: corpus (mean and deviation over the utterances trained on, as the paper), utterance_mean
# (the crop's or window's own mean over time is subtracted) or utterance_mean_deviation (and divided by its deviation)
_C.FRONTEND.NORM = "corpus"

# ------------------------------------------------------------------------------------------------------------------
# Augmentation of the training crops of train.py and train_baseline.py; none by default
# ------------------------------------------------------------------------------------------------------------------
_C.AUGMENT = CfgNode()
# A folder of noise, music or babble to add, any depth, as MUSAN comes
_C.AUGMENT.NOISE_DIR = ""
# A folder of room impulse responses to reverberate with, any depth, as OpenSLR 28 comes (its files named noise are
# left out)
_C.AUGMENT.RIR_DIR = ""
# Factors to speed speech up by, of which one is drawn, as in "0.9 1.1"; the speaker stays the same class
_C.AUGMENT.SPEED = ""
# Every factor makes other speakers, classes of their own in training: "0.9 1.1" three times as many. A crop's speed is
# then drawn evenly among 1 and the factors, whatever PROBABILITY says
_C.AUGMENT.SPEED_CLASSES = False
# With which probability a crop gets another speed, reverberation, noise, equalisation, another level: each is drawn by
# itself
_C.AUGMENT.PROBABILITY = 0.6
# Speech above added noise, dB: evenly drawn between the two
_C.AUGMENT.SNR_MIN = 0.0
_C.AUGMENT.SNR_MAX = 15.0
# With which probability 3 to 7 utterances of other training speakers are the background, 13 to 20 dB below; 0: never
_C.AUGMENT.BABBLE = 0.0
# Raise and lower frequencies by up to so many dB, by a random curve (see data_objects/spectral.py); 0: no equalisation
_C.AUGMENT.EQ_DB = 0.0
# Another level, by up to so many dB; 0: none
_C.AUGMENT.GAIN_DB = 0.0
# With which probability a crop is limited to a band: a telephone's, 300 to 3400 Hz, or one that ends between 3.4 and 7
# kHz; 0: never
_C.AUGMENT.BAND_PROBABILITY = 0.0
# SpecAugment: in every crop, so many masks of 0 (the features' mean) over time and over frequency, and their greatest
# width, in frames and in the features' bins
_C.AUGMENT.TIME_MASKS = 0
_C.AUGMENT.TIME_MASK_FRAMES = 10
_C.AUGMENT.FREQUENCY_MASKS = 0
_C.AUGMENT.FREQUENCY_MASK_BINS = 25

# ------------------------------------------------------------------------------------------------------------------
# Search
# ------------------------------------------------------------------------------------------------------------------
_C.SEARCH = CfgNode()
# Candidate operations: s2 (DARTS) or s3 (with one-dimensional kernels); see models/genotypes.py
_C.SEARCH.SPACE = "s2"
# What the supernet's cells see: paper (its own stem: features at half their size in time and frequency) or network (the
# stem of the network that is derived: at an eighth, as that network's cells see them, for a tenth of the cost)
_C.SEARCH.STEM = "paper"
# Epochs at the begin in which the weights alone learn and alpha rests
_C.SEARCH.WARMUP_EPOCHS = 0
# What the weights learn by: edges (every edge of every cell draws its own operation, as the paper) or genotypes (one
# genotype, drawn as alpha weighs them, in all cells)
_C.SEARCH.PATHS = "edges"
# Which genotype comes out: argmax (of alpha, as the paper) or ranked (the one that the supernet is best with on the val
# part, of so many candidates: see utils/search/ranking.py)
_C.SEARCH.CHOOSE = "argmax"
_C.SEARCH.CANDIDATES = 50
# Alpha's gradient: exact; dense (the same, computed as the original does: slow, in much memory); or sampled (of the
# sampled operation alone, as GDAS: cheapest, another estimate)
_C.SEARCH.GRADIENT = "exact"
# Random paths that tell, at every validation, how good the supernet is as a whole
_C.SEARCH.RANDOM_PATHS = 10
# An edge's operations in a step: gumbel (one is drawn) or softmax (all are mixed, as in DARTS: dense by nature)
_C.SEARCH.SAMPLING = "gumbel"
# Temperature of the softmax over an edge's operations in the first epoch and in the last one, linear in between
_C.SEARCH.TEMPERATURE = 1.0
_C.SEARCH.TEMPERATURE_END = 1.0
# What alpha learns on: val (the val part; the weights on the train part) or halves (of the train part, as in DARTS)
_C.SEARCH.DATA_SPLIT = "val"
# End the search after so many hours (an interrupted run's count up to its last checkpoint), even within an epoch, with
# the genotype of then; 0: no limit
_C.SEARCH.MAX_HOURS = 0.0
# End the search when skip connections have taken over for so many epochs in a row (see utils/search/monitor.py), with
# the genotype from before; 0: warn only
_C.SEARCH.COLLAPSE_PATIENCE = 0
# Draw pictures and report.html while the search goes on and at its end; False: that is left to tools/report_search.py
_C.SEARCH.REPORT = True
# A target for what the derived network costs, in 1e9 multiply-accumulates for one input, and the weight in alpha's loss
# of the squared logarithm of (cost / target); 0: the search looks at accuracy alone, as the paper's
_C.SEARCH.COST_TARGET = 0.0
_C.SEARCH.COST_WEIGHT = 0.0
# Whose cost shall be that: derived (of the network that alpha derives to, by the gradient of the mean) or expected (the
# mean of what alpha's distribution draws)
_C.SEARCH.COST_OF = "derived"
# The network that this is the cost of, as it will be trained: its cells and channels (0: MODEL.LAYERS,
# MODEL.INIT_CHANNELS, the supernet's own), and an input's frames
_C.SEARCH.COST_LAYERS = 0
_C.SEARCH.COST_CHANNELS = 0
_C.SEARCH.COST_FRAMES = 300

# ------------------------------------------------------------------------------------------------------------------
# Training; search.py trains the supernet's weights by the same keys
# ------------------------------------------------------------------------------------------------------------------
_C.TRAIN = CfgNode()
# Utterances in a batch, of all processes together where there are several
_C.TRAIN.BATCH_SIZE = 96
# The learning rate: cosine from LR in the first epoch towards LR_MIN at the end
_C.TRAIN.LR = 0.01
_C.TRAIN.LR_MIN = 0.001
# Epochs at the begin in which it rises, step by step in a straight line, to what the cosine has after them; 0: none
_C.TRAIN.LR_WARMUP = 0
# With MODEL.PRETRAINED: a factor of the learning rate of all but classifier and pooling
_C.TRAIN.LR_PRETRAINED = 1.0
# adam, adamw (weight decay apart from the gradient) or sgd (with Nesterov's momentum)
_C.TRAIN.OPTIMIZER = "adam"
# sgd: its momentum
_C.TRAIN.MOMENTUM = 0.9
# Weight decay (adam: of all weights, in the gradient; else not of biases and norms), and Adam's betas
_C.TRAIN.WD = 0.0
_C.TRAIN.BETA1 = 0.9
_C.TRAIN.BETA2 = 0.999
# The greatest length of a step's gradient, over all weights; a longer one is brought to it. 0: any length
_C.TRAIN.CLIP = 0.0
# Batches that a step's gradient is the mean of: as a batch of so many times the size, but for the norms' statistics
_C.TRAIN.ACCUMULATE = 1
# Decay of a moving average of the weights (0.999, say), by which is validated, chosen and evaluated; 0: none is kept
_C.TRAIN.EMA = 0.0
# Adam's learning rate, weight decay and betas for the architecture parameters
_C.TRAIN.ARCH_LR = 0.001
_C.TRAIN.ARCH_WD = 0.001
_C.TRAIN.ARCH_BETA1 = 0.5
_C.TRAIN.ARCH_BETA2 = 0.999
# Supernet: drop-path probability of the last epoch, rising linearly from 0
_C.TRAIN.DROPPATH_PROB = 0.2
# softmax, or aam (additive angular margin, ArcFace: see utils/training/losses.py; not for the supernet)
_C.TRAIN.LOSS = "softmax"
# aam: what is added to the target's angle, radians, and the factor of the cosines
_C.TRAIN.MARGIN = 0.2
_C.TRAIN.SCALE = 30.0
# aam: epochs at the begin in which the margins rise, step by step in a straight line from 0; 0: none
_C.TRAIN.MARGIN_WARMUP = 0
# aam: directions that each class has, of which the nearest one counts
_C.TRAIN.SUBCENTERS = 1
# aam: how many of the other classes, the nearest ones, have their angles made smaller, and by how much, radians
_C.TRAIN.TOP_K = 0
_C.TRAIN.TOP_K_MARGIN = 0.06
# Share of the target spread evenly over all classes
_C.TRAIN.LABEL_SMOOTHING = 0.1
# fp32, or bf16: forward passes under bfloat16 autocast, for GPUs and for CPUs with instructions for it (AVX512-BF16 or
# AMX); front end, losses, weights and the norms' statistics stay in float32
_C.TRAIN.PRECISION = "fp32"
# Let CUDA's tensor cores round what they multiply in float32 to 10 bits of mantissa: faster (PyTorch's own default does
# so in convolutions)
_C.TRAIN.TF32 = False
# Have torch.compile make kernels for training the network of a genotype; the first step then takes minutes, and so does
# the first one with drop-path. auto: time steps with and without before the first one, and take the faster
_C.TRAIN.COMPILE = False
# Launch the training steps of a genotype's network as CUDA graphs, recorded once and replayed by torch.compile, where
# that is possible; auto: time steps with and without
_C.TRAIN.CUDA_GRAPHS = False
# Write a checkpoint every so many minutes within an epoch; 0: only at its end
_C.TRAIN.CHECKPOINT_MINUTES = 10.0
# train.py and train_baseline.py: keep the network of every N-th validated epoch, and of the last one, as epoch-*.pt (4
# bytes a parameter each) for tools/compare_validation.py; 0: none
_C.TRAIN.KEEP_EPOCHS = 0
# Epochs run from BEGIN_EPOCH to END_EPOCH - 1
_C.TRAIN.BEGIN_EPOCH = 0
_C.TRAIN.END_EPOCH = 301
# train.py and train_baseline.py: stop after so many epochs, under the schedule of all END_EPOCH, validated and with a
# checkpoint to go on from; 0: at END_EPOCH
_C.TRAIN.STOP_EPOCH = 0

# ------------------------------------------------------------------------------------------------------------------
# Evaluation
# ------------------------------------------------------------------------------------------------------------------
_C.EVAL = CfgNode()
# Windows in a batch; windows of many utterances share one. CPUs are fastest with few, GPUs with many
_C.EVAL.BATCH_SIZE = 16
# Let convolutions do the work of the norms behind them: fewer operations, the same numbers but for rounding
_C.EVAL.FOLD_NORMS = True
# Length of an evaluation window in frames, where it shall be another than training's crops; 0: PARTIAL_N_FRAMES
_C.EVAL.WINDOW_FRAMES = 0
# How trials are scored: cosine; centred (cosine, the training speakers' mean subtracted); snorm (cosine, adaptive
# s-norm by a cohort of training speakers); lda (cosine in the dimensions in which training speakers differ); plda
# (likelihood ratios there); several with commas, the first of which the results are headed by
_C.EVAL.BACKENDS = "cosine"
# Cohort speakers nearest to an utterance that its s-norm counts
_C.EVAL.COHORT_TOP_N = 300
# Utterances at most of each training speaker that the cohort and the mean for centring are made of
_C.EVAL.COHORT_UTTERANCES = 10
# lda, plda: dimensions at most; one less than there are speakers to fit to, where that is fewer
_C.EVAL.LDA_DIM = 100
# lda, plda: utterances at most of each training speaker that they are fitted to
_C.EVAL.LDA_UTTERANCES = 50
# Calibrate scores on the validation trials of held-out speakers, where the network has such
_C.EVAL.CALIBRATION = True
# Draws of speakers for the 95 % intervals; 0: no intervals
_C.EVAL.BOOTSTRAP = 1000
# Keep embeddings beside the checkpoint and use them again while nothing has changed
_C.EVAL.KEEP_EMBEDDINGS = True
# Draw pictures and report.html; False: figures and scores alone, in a fraction of the time where there are few trials
_C.EVAL.REPORT = True

CHOICES: dict[str, tuple[Any, ...]] = {
    "DEVICE": ("auto", "cpu", "cuda"),
    "DEVICE_TUNING": ("auto", "on", "off"),
    "DATASET.SUB_DIR": ("merged", "dev"),
    "DATASET.VAL_CHOICE": ("random", "hard"),
    "DATASET.SAMPLING": ("natural", "balanced"),
    "MODEL.POOLING": ("average", "attentive", "correlation"),
    "FRONTEND.FEATURE": ("magnitude", "log_magnitude", "log_mel"),
    "FRONTEND.NORM": ("corpus", "utterance_mean", "utterance_mean_deviation"),
    "SEARCH.SPACE": ("s2", "s3"),
    "SEARCH.STEM": ("paper", "network"),
    "SEARCH.PATHS": ("edges", "genotypes"),
    "SEARCH.CHOOSE": ("argmax", "ranked"),
    "SEARCH.COST_OF": ("derived", "expected"),
    "SEARCH.GRADIENT": ("exact", "dense", "sampled"),
    "SEARCH.SAMPLING": ("gumbel", "softmax"),
    "SEARCH.DATA_SPLIT": ("val", "halves"),
    "TRAIN.COMPILE": (True, False, "auto"),
    "TRAIN.CUDA_GRAPHS": (True, False, "auto"),
    "TRAIN.LOSS": ("softmax", "aam"),
    "TRAIN.OPTIMIZER": ("adam", "adamw", "sgd"),
    "TRAIN.PRECISION": ("fp32", "bf16"),
}

SLOWEST, FASTEST = 0.5, 2.0  # of AUGMENT.SPEED

BACKENDS = ("cosine", "centred", "snorm", "lda", "plda")

# key -> (least, greatest) value, both allowed; None: no limit
RANGES: dict[str, tuple[float, float | None]] = {
    "PRINT_FREQ": (1, None),
    "VAL_FREQ": (1, None),
    "SEED": (0, 2**32 - 1),
    "MODEL.NUM_CLASSES": (0, None),
    "MODEL.LAYERS": (3, None),
    "MODEL.INIT_CHANNELS": (2, None),
    "MODEL.DROP_PATH_PROB": (0, 0.99),
    "DATASET.NUM_WORKERS": (0, None),
    "DATASET.PARTIAL_N_FRAMES": (32, None),
    "DATASET.PARTIAL_N_FRAMES_MIN": (0, None),
    "DATASET.VAL_SPEAKERS": (-1, None),
    "DATASET.VAL_TRIALS": (20, None),
    "DATASET.VAL_SEED": (0, 2**32 - 1),
    "FRONTEND.BANDS": (20, 120),  # beyond 126 the lowest bands have no bin of a spectrogram
    "AUGMENT.PROBABILITY": (0, 1),
    "AUGMENT.SNR_MIN": (-30, 100),
    "AUGMENT.SNR_MAX": (-30, 100),
    "AUGMENT.BABBLE": (0, 1),
    "AUGMENT.EQ_DB": (0, 40),
    "AUGMENT.GAIN_DB": (0, 40),
    "AUGMENT.BAND_PROBABILITY": (0, 1),
    "AUGMENT.TIME_MASKS": (0, 100),
    "AUGMENT.TIME_MASK_FRAMES": (1, None),
    "AUGMENT.FREQUENCY_MASKS": (0, 100),
    "AUGMENT.FREQUENCY_MASK_BINS": (1, None),
    "SEARCH.WARMUP_EPOCHS": (0, None),
    "SEARCH.CANDIDATES": (2, None),
    "SEARCH.TEMPERATURE": (0.01, None),
    "SEARCH.TEMPERATURE_END": (0.01, None),
    "SEARCH.MAX_HOURS": (0, None),
    "SEARCH.COLLAPSE_PATIENCE": (0, None),
    "SEARCH.RANDOM_PATHS": (2, None),
    "SEARCH.COST_TARGET": (0, None),
    "SEARCH.COST_WEIGHT": (0, None),
    "SEARCH.COST_LAYERS": (0, None),
    "SEARCH.COST_CHANNELS": (0, None),
    "SEARCH.COST_FRAMES": (32, None),
    "TRAIN.BATCH_SIZE": (1, None),
    "TRAIN.LR": (0, None),
    "TRAIN.LR_MIN": (0, None),
    "TRAIN.LR_WARMUP": (0, None),
    "TRAIN.LR_PRETRAINED": (0, 10),
    "MODEL.FREEZE": (0, None),
    "TRAIN.MOMENTUM": (0, 0.9999),
    "TRAIN.WD": (0, None),
    "TRAIN.BETA1": (0, 0.9999),
    "TRAIN.BETA2": (0, 0.99999),
    "TRAIN.CLIP": (0, None),
    "TRAIN.ACCUMULATE": (1, None),
    "TRAIN.EMA": (0, 0.999999),
    "TRAIN.ARCH_LR": (0, None),
    "TRAIN.ARCH_WD": (0, None),
    "TRAIN.ARCH_BETA1": (0, 0.9999),
    "TRAIN.ARCH_BETA2": (0, 0.99999),
    "TRAIN.DROPPATH_PROB": (0, 0.99),
    "TRAIN.MARGIN": (0, 1.5),
    "TRAIN.SCALE": (1, None),
    "TRAIN.MARGIN_WARMUP": (0, None),
    "TRAIN.SUBCENTERS": (1, None),
    "TRAIN.TOP_K": (0, None),
    "TRAIN.TOP_K_MARGIN": (0, 1.5),
    "TRAIN.LABEL_SMOOTHING": (0, 0.99),
    "TRAIN.CHECKPOINT_MINUTES": (0, None),
    "TRAIN.KEEP_EPOCHS": (0, None),
    "TRAIN.BEGIN_EPOCH": (0, None),
    "TRAIN.END_EPOCH": (1, None),
    "TRAIN.STOP_EPOCH": (0, None),
    "EVAL.BATCH_SIZE": (1, None),
    "EVAL.WINDOW_FRAMES": (0, None),
    "EVAL.COHORT_TOP_N": (2, None),
    "EVAL.COHORT_UTTERANCES": (1, None),
    "EVAL.LDA_DIM": (2, None),
    "EVAL.LDA_UTTERANCES": (2, None),
    "EVAL.BOOTSTRAP": (0, None),
}


# Settings that are paths, in which ~ is the user's home.
PATHS = (
    "OUT_DIR",
    "MODEL.PRETRAINED",
    "DATASET.DATA_DIR",
    "DATASET.FEATURE_DIR",
    "AUGMENT.NOISE_DIR",
    "AUGMENT.RIR_DIR",
)
# Keys of the original's YAML files that say nothing here, and what does.
OF_THE_ORIGINAL = {
    "DATASET.TEST_DATA_DIR": "DATASET.DATA_DIR holds the speakers that are tested on, too",
    "DATASET.TEST_DATASET": "trials are those of --trials, or of veri_test.txt in DATASET.DATA_DIR",
}


def default_config() -> CfgNode:
    """A copy of the defaults, free to change."""
    return _C.clone()


def load_config(file: str | Path, options: Sequence[str] = ()) -> CfgNode:
    """The frozen settings: the defaults, under the YAML file, under the options.

    Args:
        file: path of a YAML file of (some of) the keys above.
        options: what followed the command-line options: KEY VALUE KEY VALUE …

    Raises:
        UserError: the file is missing or no YAML; an unknown key, a wrong type or a value outside its range.
    """
    cfg = default_config()
    for key, value in flatten(read_yaml(expand_user(file, "--cfg"))).items():
        _set(cfg, key, value, str(file))
    return override(cfg, options)


def override(cfg: CfgNode, options: Sequence[object]) -> CfgNode:
    """Frozen settings: those of `cfg`, which stays as it is, under the options, checked alone and together.

    Args:
        options: KEY VALUE KEY VALUE …, the values as text or as YAML gives them.

    Raises:
        UserError: an unknown key, a wrong type, a value outside its range, or settings that contradict each other.
    """
    cfg = cfg.clone()
    cfg.defrost()
    if len(options) % 2:
        raise UserError(f"options come in pairs, KEY VALUE: {_quoted(options[-1])} has no value")
    for key, value in zip(options[::2], options[1::2], strict=True):
        _set(cfg, str(key), value, "option")
    _check_epochs(cfg)
    _check_steps(cfg)
    if not cfg.MODEL.PRETRAINED and (cfg.MODEL.FREEZE or cfg.TRAIN.LR_PRETRAINED != 1):
        key = "MODEL.FREEZE" if cfg.MODEL.FREEZE else "TRAIN.LR_PRETRAINED"
        raise UserError(f"{key} is for a network that starts from another one's weights: set MODEL.PRETRAINED, too")
    if cfg.FRONTEND.BANDS != _C.FRONTEND.BANDS and cfg.FRONTEND.FEATURE != "log_mel":
        raise UserError(
            f"FRONTEND.BANDS {cfg.FRONTEND.BANDS} is for FRONTEND.FEATURE log_mel, not for {cfg.FRONTEND.FEATURE}: set "
            f"that, or leave it at {_C.FRONTEND.BANDS}"
        )
    _check_lengths(cfg)
    _check_augmentation(cfg)
    if cfg.SEARCH.SAMPLING == "softmax" and cfg.SEARCH.GRADIENT == "sampled":
        raise UserError("SEARCH.GRADIENT sampled needs SEARCH.SAMPLING gumbel: softmax samples no operation")
    _check_cost(cfg)
    if cfg.DATASET.VAL_SPEAKERS == 1:
        raise UserError("DATASET.VAL_SPEAKERS must not be 1: trials of different speakers need two")
    if cfg.DATASET.VAL_CHOICE == "hard" and cfg.DATASET.VAL_SPEAKERS == 0:
        raise UserError(
            "DATASET.VAL_CHOICE hard says how speakers are held out: set DATASET.VAL_SPEAKERS to more than 0"
        )
    backends(cfg)
    cfg.freeze()
    return cfg


def _check_epochs(cfg: CfgNode) -> None:
    if cfg.TRAIN.BEGIN_EPOCH >= cfg.TRAIN.END_EPOCH:
        raise UserError(
            f"TRAIN.BEGIN_EPOCH {cfg.TRAIN.BEGIN_EPOCH} must be less than TRAIN.END_EPOCH {cfg.TRAIN.END_EPOCH}"
        )
    if cfg.TRAIN.STOP_EPOCH and not cfg.TRAIN.BEGIN_EPOCH < cfg.TRAIN.STOP_EPOCH <= cfg.TRAIN.END_EPOCH:
        raise UserError(
            f"TRAIN.STOP_EPOCH must be 0, or more than TRAIN.BEGIN_EPOCH {cfg.TRAIN.BEGIN_EPOCH} and at most "
            f"TRAIN.END_EPOCH {cfg.TRAIN.END_EPOCH}, not {cfg.TRAIN.STOP_EPOCH}"
        )


def _check_lengths(cfg: CfgNode) -> None:
    least, longest = RANGES["DATASET.PARTIAL_N_FRAMES"][0], cfg.DATASET.PARTIAL_N_FRAMES
    if 0 < cfg.EVAL.WINDOW_FRAMES < least:
        raise UserError(f"EVAL.WINDOW_FRAMES must be 0 or at least {least}, not {cfg.EVAL.WINDOW_FRAMES}")
    shortest = cfg.DATASET.PARTIAL_N_FRAMES_MIN
    if shortest and not least <= shortest < longest:
        raise UserError(
            f"DATASET.PARTIAL_N_FRAMES_MIN must be 0, or at least {least} and less than DATASET.PARTIAL_N_FRAMES "
            f"{longest}, not {shortest}"
        )
    for key in ("COMPILE", "CUDA_GRAPHS"):
        if shortest and cfg.TRAIN[key] is True:
            raise UserError(
                f"TRAIN.{key} True is for crops of one length: set it to False, or DATASET.PARTIAL_N_FRAMES_MIN to 0"
            )


def _check_augmentation(cfg: CfgNode) -> None:
    settings = cfg.AUGMENT
    _check_speeds(settings.SPEED, settings.SPEED_CLASSES)
    if settings.SNR_MIN > settings.SNR_MAX:
        raise UserError(f"AUGMENT.SNR_MIN {settings.SNR_MIN} must not be more than AUGMENT.SNR_MAX {settings.SNR_MAX}")
    if settings.SPEED_CLASSES and not settings.SPEED:
        raise UserError("AUGMENT.SPEED_CLASSES True needs factors that make them: set AUGMENT.SPEED to '0.9 1.1', say")
    for masks, widest in (("TIME_MASKS", "TIME_MASK_FRAMES"), ("FREQUENCY_MASKS", "FREQUENCY_MASK_BINS")):
        if settings[widest] != _C.AUGMENT[widest] and not settings[masks]:
            raise UserError(f"AUGMENT.{widest} {settings[widest]} says nothing: set AUGMENT.{masks}, too")
    shortest = cfg.DATASET.PARTIAL_N_FRAMES_MIN or cfg.DATASET.PARTIAL_N_FRAMES
    if settings.TIME_MASKS and shortest <= settings.TIME_MASK_FRAMES:
        raise UserError(
            f"AUGMENT.TIME_MASK_FRAMES {settings.TIME_MASK_FRAMES} must be less than a crop's {shortest} frames, of "
            "which nothing may be left otherwise"
        )


def _check_steps(cfg: CfgNode) -> None:
    """Refuse what would say nothing, or would never come to its end."""
    for key in ("MARGIN_WARMUP", "SUBCENTERS", "TOP_K"):
        if cfg.TRAIN[key] != _C.TRAIN[key] and cfg.TRAIN.LOSS != "aam":
            raise UserError(
                f"TRAIN.{key} {cfg.TRAIN[key]} is for TRAIN.LOSS aam: set that, or leave {key} at {_C.TRAIN[key]}"
            )
    if cfg.TRAIN.TOP_K_MARGIN != _C.TRAIN.TOP_K_MARGIN and not cfg.TRAIN.TOP_K:
        raise UserError(f"TRAIN.TOP_K_MARGIN {cfg.TRAIN.TOP_K_MARGIN} says nothing: set TRAIN.TOP_K, too")
    if cfg.TRAIN.MOMENTUM != _C.TRAIN.MOMENTUM and cfg.TRAIN.OPTIMIZER != "sgd":
        raise UserError(f"TRAIN.MOMENTUM {cfg.TRAIN.MOMENTUM} is for TRAIN.OPTIMIZER sgd: set that, too")
    for key in ("BETA1", "BETA2"):
        if cfg.TRAIN[key] != _C.TRAIN[key] and cfg.TRAIN.OPTIMIZER == "sgd":
            raise UserError(f"TRAIN.{key} {cfg.TRAIN[key]} is Adam's: leave it at {_C.TRAIN[key]} for OPTIMIZER sgd")
    epochs = cfg.TRAIN.END_EPOCH - cfg.TRAIN.BEGIN_EPOCH
    for key in ("LR_WARMUP", "MARGIN_WARMUP"):
        if cfg.TRAIN[key] >= epochs:
            raise UserError(f"TRAIN.{key} {cfg.TRAIN[key]} must be less than the {epochs} epochs of the training")


def doubtful_settings(cfg: CfgNode) -> list[str]:
    """What a training is to be warned of: settings that say nothing, or hardly what was meant; a line each."""
    train, augment = cfg.TRAIN, cfg.AUGMENT
    idle: dict[str, str] = {}  # key -> why it would say nothing
    if train.LOSS == "softmax":
        idle |= dict.fromkeys(("TRAIN.MARGIN", "TRAIN.SCALE"), "TRAIN.LOSS is softmax")
    if not augment.NOISE_DIR:
        idle |= dict.fromkeys(("AUGMENT.SNR_MIN", "AUGMENT.SNR_MAX"), "what it is for is not set")
    if not (augment.NOISE_DIR or augment.RIR_DIR or augment.SPEED or augment.EQ_DB or augment.GAIN_DB):
        idle["AUGMENT.PROBABILITY"] = "what it is for is not set"
    values, usual = flatten(cfg), flatten(_C)
    lines = [f"{key} {values[key]} says nothing: {why}" for key, why in idle.items() if values[key] != usual[key]]
    if train.LOSS == "aam" and train.LABEL_SMOOTHING:
        lines.append(f"TRAIN.LABEL_SMOOTHING {train.LABEL_SMOOTHING} takes from the margin of aam: 0 is usual")
    if train.LR_MIN > train.LR:
        lines.append(f"TRAIN.LR_MIN {train.LR_MIN} is more than TRAIN.LR {train.LR}: the learning rate will rise")
    return lines


def last_epoch(cfg: CfgNode) -> int:
    """The epoch after which a training stops: TRAIN.STOP_EPOCH, or TRAIN.END_EPOCH where that is 0."""
    return cfg.TRAIN.STOP_EPOCH or cfg.TRAIN.END_EPOCH


def _check_cost(cfg: CfgNode) -> None:
    if cfg.SEARCH.COST_WEIGHT > 0 and cfg.SEARCH.COST_TARGET == 0:
        raise UserError(
            f"SEARCH.COST_WEIGHT {cfg.SEARCH.COST_WEIGHT} needs a SEARCH.COST_TARGET of more than 0, in 1e9 "
            "multiply-accumulates"
        )
    for key, value, of in (
        ("SEARCH.COST_LAYERS", cfg.SEARCH.COST_LAYERS, "MODEL.LAYERS"),
        ("SEARCH.COST_CHANNELS", cfg.SEARCH.COST_CHANNELS, "MODEL.INIT_CHANNELS"),
    ):
        if 0 < value < RANGES[of][0]:
            raise UserError(f"{key} must be 0 ({of}) or at least {RANGES[of][0]}, not {value}")


def backends(cfg: CfgNode) -> list[str]:
    """The ways to score of EVAL.BACKENDS, in order.

    Raises:
        UserError: one that there is not, none, or one twice.
    """
    names = cfg.EVAL.BACKENDS.lower().replace(",", " ").split()
    if not names or len(set(names)) < len(names) or set(names) - set(BACKENDS):
        raise UserError(
            f"EVAL.BACKENDS must be some of {', '.join(BACKENDS)}, each once, not {_quoted(cfg.EVAL.BACKENDS)}"
        )
    return names


def _check_speeds(text: str, make_classes: bool) -> None:
    try:
        speeds = parse_factors(text)
    except (ValueError, ZeroDivisionError):
        speeds = [Fraction(0)]
    if not all(SLOWEST <= speed <= FASTEST for speed in speeds):
        factors = f"factors from {SLOWEST} to {FASTEST}, as in '0.9 1.1'"
        raise UserError(f"AUGMENT.SPEED must be {factors}, not {_quoted(text)}")
    if make_classes and len({Fraction(1), *speeds}) <= len(speeds):
        raise UserError(
            f"AUGMENT.SPEED {_quoted(text)} must be factors that differ from each other and from 1, of which every one "
            "makes other speakers (AUGMENT.SPEED_CLASSES)"
        )


class _StandsTwiceError(Exception):
    """A key that is given twice, of which YAML's readers take the last without a word."""


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, for which no key may stand twice in a section."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                line = key.start_mark.line + 1
                if key.value in lines:
                    raise _StandsTwiceError(f"{shown(key.value)} stands in line {lines[key.value]} and in line {line}")
                lines[key.value] = line
        return super().construct_mapping(node, deep)


def read_yaml(path: Path, form: str = "KEY: VALUE lines") -> dict:
    """What a file of settings, or of another form, holds, sections as dicts.

    Raises:
        UserError: it is missing, no YAML, no mapping, or has a key twice.
    """
    shipped = f"the shipped files are in {Path(__file__).parent / 'exps'}"
    try:
        content = yaml.load(read_text(path, f"needed are settings as YAML, {form}; {shipped}"), _Loader)
    except FileNotFoundError as error:
        raise UserError(f"no such config file: {path}; {shipped}") from error
    except _StandsTwiceError as error:
        raise UserError(f"{path}: {error}: which of both is meant? Take one away") from error
    except (yaml.YAMLError, ValueError, TypeError, RecursionError, LookupError, AttributeError) as error:
        # ValueError: a date or number that cannot be; the last ones: tags on what they do not fit
        raise UserError(f"{path} is not YAML: {shown(' '.join(str(error).split()), 300)}") from error
    if not isinstance(content, dict | None):
        raise UserError(f"{path} must hold {form}, not {shown(content)}; {shipped}")
    return content or {}


def shown(value: object, limit: int = 80) -> str:
    """A value that a user gave, in a line of a message: short, with control characters escaped."""
    try:
        text = value if isinstance(value, str) and value.isprintable() else repr(value)
    except (RecursionError, ValueError):
        return "a value that cannot be shown"  # nested too deeply, or a number of thousands of digits
    return text if len(text) <= limit else text[:limit] + "..."


def _quoted(value: object) -> str:
    """A value as Python writes it, shortened."""
    return shown(repr(value) if isinstance(value, str) else value)


def flatten(tree: dict, prefix: str = "") -> dict[str, object]:
    """{"TRAIN": {"LR": 1}} as {"TRAIN.LR": 1}.

    Raises:
        UserError: a key stands there twice, with dots and in its section.
    """
    leaves: dict[str, object] = {}
    for key, value in tree.items():
        own = flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
        if twice := leaves.keys() & own.keys():
            key = shown(min(twice))
            raise UserError(f"{key} stands there with dots and in its section: which is meant? Take one away")
        leaves |= own
    return leaves


def differing_settings(before: dict[str, object], now: dict[str, object], free: tuple[str, ...]) -> str:
    """Which settings are not the same, with both values, as text; empty where none is.

    Args:
        before, now: as `flatten` gives them; a key that is newer than `before` had no other value than its default.
        free: beginnings of the keys that may differ.
    """
    before = flatten(default_config()) | before
    keys = [key for key in sorted(now.keys() | before.keys()) if not key.startswith(free)]
    return ", ".join(f"{key} {before.get(key)} (now {now.get(key)})" for key in keys if now.get(key) != before.get(key))


def all_keys(cfg: CfgNode | None = None, prefix: str = "") -> list[str]:
    """Every key in dotted form."""
    keys: list[str] = []
    for key, value in (cfg or _C).items():
        keys += all_keys(value, f"{prefix}{key}.") if isinstance(value, CfgNode) else [f"{prefix}{key}"]
    return keys


def _set(cfg: CfgNode, key: str, value: object, source: str) -> None:
    if isinstance(_C.get(key), CfgNode):
        raise UserError(f"{source}: {key} is a section: it takes {', '.join(all_keys(_C[key], f'{key}.'))}")
    if key in OF_THE_ORIGINAL:
        get_logger().warning(f"{source}: {key} is the original's, and not used: {OF_THE_ORIGINAL[key]}")
        return
    if key not in all_keys():
        raise UserError(f"{source}: unknown key {shown(key)}; {_valid_keys(key)}")
    if value is None:
        raise UserError(f"{source}: {key} has no value")
    *sections, leaf = key.split(".")
    node, defaults = cfg, _C  # of which the types are
    for section in sections:
        node, defaults = node[section], defaults[section]
    value = _coerce(value, defaults[leaf], key, source)
    if key in PATHS:
        value = str(expand_user(str(value), f"{source}: {key}")) if value else value
    _check_value(key, value, source)
    node[leaf] = value


def _valid_keys(key: str) -> str:
    close = [name for name in all_keys() if name.rpartition(".")[2] == key.rpartition(".")[2].upper()]
    section = key.rpartition(".")[0]
    siblings = [name for name in all_keys() if name.rpartition(".")[0] == section] if section else list(_C)
    return f"{suggest(key.upper(), all_keys(), close)}valid are {', '.join(siblings or list(_C))}"


def suggest(word: str, valid: Sequence[str], close: Sequence[str] = ()) -> str:
    """`did you mean X? `, where there is something close to a word among what is valid; rather one of `close`."""
    found = [*close, *difflib.get_close_matches(word, valid, n=1)]
    return f"did you mean {found[0]}? " if found else ""


def _coerce(value: object, default: object, key: str, source: str) -> object:
    """`value` as the type of `default`; numbers and truth values may be text, as they are on a command line."""
    kind, text = type(default), str(value)
    if key == "MODEL.PRETRAINED" and text == "False":
        return ""  # the original's YAML files say so
    if key == "MODEL.PRETRAINED" and text == "True":
        raise UserError(f"{source}: {key} must be the path of a weights file: none is downloaded")
    if kind is str and isinstance(value, str):
        return value
    truth = {"true": True, "false": False}.get(text.lower())
    if kind is bool and truth is not None:
        return truth
    choices = CHOICES.get(key, ())
    if truth is not None and "on" in choices:  # to YAML, on and off are truth values
        return "on" if truth else "off"
    if kind is bool and choices:
        return text  # which is one of them, or refused with all of them named
    if kind in (int, float) and not isinstance(value, bool):
        try:
            return kind(text)
        except ValueError:
            pass
    names = {bool: "True or False", int: "a whole number", float: "a number", str: "text"}
    raise UserError(f"{source}: {key} must be {names[kind]}, not {_quoted(value)}")


def _check_value(key: str, value: Any, source: str) -> None:
    if key in CHOICES and value not in CHOICES[key]:
        raise UserError(f"{source}: {key} must be one of {', '.join(map(str, CHOICES[key]))}, not {_quoted(value)}")
    if key in RANGES:
        least, greatest = RANGES[key]
        if not (-math.inf < value < math.inf and least <= value <= (value if greatest is None else greatest)):
            limits = f"at least {least}" if greatest is None else f"from {least} to {greatest}"
            raise UserError(f"{source}: {key} must be {limits}, not {shown(value)}")
