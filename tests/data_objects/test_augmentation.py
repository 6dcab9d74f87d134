"""Augmentation does what it says, to crops that nothing but seed, epoch and row decides; and a run with all of it."""

import json
import math
import warnings
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from config import load_config
from data_objects.audio import read_native, read_samples
from data_objects.augmentation import (
    Augmentation,
    Talkers,
    add_noise,
    build_augmentation,
    change_speed,
    find_recordings,
    find_responses,
    frames_needed,
    quantise,
    read_noise,
    read_response,
    reverberate,
)
from data_objects.corpus import Corpus
from data_objects.datasets import CropLoader, TrainingCrops, collate_crops, read_frames
from data_objects.frontend import BINS, FrontEnd, settings_of, span
from data_objects.index import Index
from data_objects.spectral import Channel, Masks
from tests.helpers import (
    GENOTYPE,
    ROOT,
    SCRATCH,
    SPEAKERS,
    call_script,
    index_of,
    noise,
    options,
    write_audio,
    write_corpus,
)
from tests.runs import SIMULATED, assert_same_batch, only_run
from utils.records.checkpoint import load_checkpoint
from utils.system.errors import UserError
from utils.system.logger import WarningCollector
from utils.system.text import parse_factors
from utils.training.losses import AdditiveAngularMargin

FRAMES, SEED = 50, 3
COUNT = span(FRAMES)
LENGTHS = {"id10001/video/00001.wav": 23_456, "id10002/video/00001.wav": 6_000}  # more than a crop, and less
SPEEDS = [Fraction(9, 10), Fraction(11, 10)]
OF_SOUNDS = ("AUGMENT.NOISE_DIR", "{}/noise", "AUGMENT.RIR_DIR", "{}/rir", "AUGMENT.SPEED", "0.9 1.1")
OTHERS = [word for key, value in SIMULATED.items() for word in (key.replace("__", "."), str(value))]
ALL = (*OF_SOUNDS, "AUGMENT.SPEED_CLASSES", "True", *OTHERS)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """Two utterances of noise."""
    return index_of(write_corpus(tmp_path_factory.mktemp("corpus"), LENGTHS))


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The synthetic noises and rooms."""
    folder = tmp_path_factory.mktemp("sounds") / "toy"
    outcome = call_script("tools/make_toy_noise.py", folder, "--seconds", 2)
    assert outcome.last_line == f"7 noises and 5 room impulse responses in {folder}"
    return folder


def everything(sounds: Path, probability: float = 1.0, **others: Any) -> Augmentation:
    """Speed, reverberation and noise."""
    noises, responses = (find_recordings("NOISE_DIR", str(sounds / name)) for name in ("noise", "rir"))
    return Augmentation(noises, responses, SPEEDS, probability, **others)


def others(probability: float = 1.0) -> dict[str, Any]:
    """And what else there is."""
    channel = Channel(6.0, 6.0, probability, probability)
    masks = {"time_masks": Masks(2, 10), "frequency_masks": Masks(1, 20)}
    return {"has_speed_classes": True, "babble": probability, "channel": channel, **masks}


def crops_of(index: Index, augmentation: Augmentation | None = None, seed: int = SEED) -> TrainingCrops:
    """Training crops of the two utterances."""
    return TrainingCrops(index, FRAMES, SPEAKERS, seed, augmentation, np.arange(len(index.samples)))


def subtype_of(name: str) -> str:
    """How soundfile calls what lies in a file of this name."""
    return {".mp3": "MPEG_LAYER_III", ".ogg": "VORBIS"}.get(Path(name).suffix, "PCM_16")


def decibels(speech: np.ndarray, disturbance: np.ndarray) -> float:
    """The ratio of their powers."""
    return 10 * math.log10(np.square(speech).sum() / np.square(disturbance).sum())


# ------------------------------------------------------------------------------------------------------------------
# Speed
# ------------------------------------------------------------------------------------------------------------------
@given(st.integers(50, 200), st.integers(3, 400))
def test_speed_needs_as_many_more_samples(hundredths: int, frames: int) -> None:
    """And some at the ends, whose resampling the crop keeps clear of; no more than a frame too many."""
    speed = Fraction(hundredths, 100)
    read, needed = span(frames_needed(frames, speed)), span(frames) * speed
    assert needed + 40 <= read < needed + 40 + 160


@pytest.mark.parametrize("speed", [*SPEEDS, Fraction(1, 2), Fraction(2), Fraction(97, 100)])
def test_speed_changes_the_pitch(speed: Fraction) -> None:
    """A tone of 1 kHz becomes one of 1 kHz times the factor, as loud, up to both ends of the crop."""
    time = np.arange(span(frames_needed(FRAMES, speed)))
    crop = change_speed(10_000 * np.sin(2 * np.pi * 1000 / 16_000 * time), speed, FRAMES)
    assert crop.shape == (COUNT,)
    angles = 2 * np.pi * 1000 * float(speed) / 16_000 * np.arange(COUNT)
    basis = np.stack([np.sin(angles), np.cos(angles)], axis=1)
    amplitudes, *_ = np.linalg.lstsq(basis, crop, rcond=None)
    assert np.hypot(*amplitudes) == pytest.approx(10_000, rel=0.01)
    assert np.abs(crop - basis @ amplitudes).max() < 100


def test_speed_of_a_crop(index: Index) -> None:
    """It is read with as many more samples; 1 among the factors leaves a crop bit for bit as it is."""
    plain, same = crops_of(index), crops_of(index, Augmentation(speeds=[Fraction(1)]))
    assert_same(plain[0, 0], same[0, 0])
    for row in range(2):
        samples, gain, label, _ = crops_of(index, Augmentation(speeds=SPEEDS[1:]))[0, row]
        assert (samples.shape, samples.dtype, label) == ((COUNT,), np.int16, row)
        rms = np.sqrt(np.mean(np.square(samples * float(gain) / 32_768)))
        assert rms == pytest.approx(0.1, rel=0.1)  # a factor of 1.1 keeps nearly all of white noise


# ------------------------------------------------------------------------------------------------------------------
# Reverberation
# ------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("delay", [0, 77])
@pytest.mark.parametrize("height", [1.0, 0.3])
def test_one_path_changes_nothing(delay: int, height: float) -> None:
    """Neither when it arrives late nor when it is weak."""
    samples = noise(COUNT)
    heard = reverberate(samples, np.eye(1, 200, delay)[0] * height)
    np.testing.assert_allclose(heard, samples, rtol=0, atol=1e-6)


def test_reverberation_is_convolution() -> None:
    """By its definition; the peak stays in its place, the energy is kept."""
    samples, response = noise(600).astype(np.float64), np.zeros(300)
    response[[10, 15, 250]] = 0.5, 1.0, -0.4
    expected = np.array(
        [
            sum(response[15 + lag] * samples[t - lag] for lag in (-5, 0, 235) if 0 <= t - lag < len(samples))
            for t in range(len(samples))
        ]
    )
    expected *= np.sqrt(np.square(samples).sum() / np.square(expected).sum())
    np.testing.assert_allclose(reverberate(samples, response), expected, rtol=0, atol=1e-12)


def test_response_longer_than_the_crop() -> None:
    """What would be heard later changes nothing."""
    samples, response = noise(500), noise(3_000, seed=1)
    response[100] = 5
    expected = np.convolve(samples.astype(np.float64), response)[100:600]
    heard = reverberate(samples, response)
    assert heard.shape == (500,)
    assert np.corrcoef(heard, expected)[0, 1] > 1 - 1e-9


# ------------------------------------------------------------------------------------------------------------------
# Noise
# ------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("ratio", [-5.0, 0.0, 7.3, 15.0])
def test_noise_is_as_loud_as_drawn(ratio: float) -> None:
    """Exactly so many decibels below the crop, whatever the levels of either."""
    samples = (3_000 * noise(COUNT, level=1)).astype(np.int16)
    added = add_noise(samples, noise(COUNT, seed=1, level=1e-3), ratio) - samples
    assert decibels(samples.astype(np.float64), added) == pytest.approx(ratio, abs=1e-9)


def test_ratios_are_drawn_evenly(index: Index, sounds: Path) -> None:
    """Between the two, in decibels; what is added to the crop is told by taking the crop away again."""
    white = [sounds / "noise" / "white.wav"]
    plain, noisy = crops_of(index), crops_of(index, Augmentation(white, decibels=(3.0, 12.0)))
    ratios = []
    for epoch in range(300):
        (clean, gain, *_), (samples, own_gain, *_) = plain[epoch, 0], noisy[epoch, 0]
        clean, samples = clean * float(gain), samples * float(own_gain)
        ratios.append(decibels(clean, samples - clean))
    assert min(ratios) > 2.9
    assert max(ratios) < 12.1
    counts, _ = np.histogram(ratios, bins=3, range=(3, 12))
    assert all(70 <= count <= 130 for count in counts)


@pytest.mark.parametrize("length", [100, 20_000])
def test_noise_comes_from_anywhere(tmp_path: Path, length: int) -> None:
    """Where it is long, an excerpt from everywhere in it; where it is short, all of it over and over."""
    path = write_audio(tmp_path / "noise.wav", np.arange(length) / 32_768)
    excerpts = [read_noise(path, 1000, np.random.default_rng(seed)) * 32_768 for seed in range(200)]
    for excerpt in excerpts:
        np.testing.assert_allclose(excerpt, (excerpt[0] + np.arange(1000)) % length)
    starts = [excerpt[0] for excerpt in excerpts]
    expected = (0, 0) if length == 100 else (0, 19_000)
    assert expected[0] <= min(starts) <= expected[1] / 20
    assert 0.95 * expected[1] <= max(starts) <= expected[1]


@pytest.mark.parametrize(("name", "rate"), [("noise.flac", 16_000), ("noise.wav", 8_000), ("noise.wav", 44_100)])
def test_noise_of_other_formats_and_rates(tmp_path: Path, name: str, rate: int) -> None:
    """A tone of 1 kHz stays one, of two channels the first."""
    time = np.arange(2 * rate) / rate
    channels = np.stack([0.5 * np.sin(2 * np.pi * 1000 * time), np.zeros(len(time))], axis=1)
    path = write_audio(tmp_path / name, channels, rate)
    samples = read_noise(path, 16_000, np.random.default_rng(0))
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(16_000)))
    assert spectrum.argmax() == 1000  # one bin a hertz
    assert samples[1000:-1000].max() == pytest.approx(0.5, rel=0.02)


def test_only_the_excerpt_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MUSAN's recordings are minutes long; and where samples lie is looked for once."""
    counts = []

    def counting(path: Path, offset: int, start: int, count: int) -> np.ndarray:
        counts.append(count)
        return read_samples(path, offset, start, count)

    def looking(path: Path) -> object:
        counts.append(0)
        return read_native(path)

    path = write_audio(tmp_path / "noise.wav", noise(100_000))
    monkeypatch.setattr("data_objects.augmentation.read_samples", counting)
    monkeypatch.setattr("data_objects.augmentation.read_native", looking)
    for seed in range(3):
        read_noise(path, 1000, np.random.default_rng(seed))
    assert counts == [0, 1000, 1000, 1000]
    write_audio(path, np.zeros(50_000))
    assert not read_noise(path, 1000, np.random.default_rng(0)).any()
    assert counts == [0, 1000, 1000, 1000, 0, 1000]


@pytest.mark.parametrize("name", ["noise.wav", "noise.flac", "noise.mp3", "noise.ogg"])
def test_excerpt_is_a_part_of_the_whole(tmp_path: Path, name: str) -> None:
    """Of every format, from anywhere, to the bit."""
    path = write_audio(tmp_path / name, np.stack([noise(40_000), noise(40_000, 1)], axis=1), subtype=subtype_of(name))
    whole, found = read_response(path), []
    for seed in range(20):
        excerpt = read_noise(path, 2_000, np.random.default_rng(seed))
        found += [place for place in range(len(whole)) if np.array_equal(whole[place : place + 2_000], excerpt)]
    assert len(found) == len(set(found)) == 20
    assert max(found) > 20_000


# ------------------------------------------------------------------------------------------------------------------
# Sixteen bits
# ------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("size", [1e-3, 1.0, 1e6])
def test_sixteen_bits_and_a_gain(size: float) -> None:
    """Whatever the size of samples: together they are what they were, to half a step."""
    values = size * noise(COUNT).astype(np.float64)
    samples, gain = quantise(values, np.float32(2.5))
    assert samples.dtype == np.int16
    assert isinstance(gain, np.float32)
    assert np.abs(samples).max() == 32_767
    np.testing.assert_allclose(samples * float(gain), 2.5 * values, rtol=1e-6, atol=0.51 * float(gain))


def test_silence_stays_silent(sounds: Path) -> None:
    """No division by its level; nor by that of noise that is silent."""
    augmentation, silence = everything(sounds), np.zeros(COUNT, np.int16)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for seed in range(10):
            samples, gain = augmentation.apply(silence, np.float32(1), np.random.default_rng(seed))
            assert not samples.any()
            assert (samples.dtype, gain) == (np.int16, 1)
        assert not change_speed(np.zeros(span(frames_needed(FRAMES, SPEEDS[0]))), SPEEDS[0], FRAMES).any()
        speech = noise(COUNT)
        np.testing.assert_array_equal(add_noise(speech, np.zeros(COUNT), 0.0), speech)


# ------------------------------------------------------------------------------------------------------------------
# Draws
# ------------------------------------------------------------------------------------------------------------------
def assert_same(one: tuple, other: tuple) -> None:
    """The same samples, gain, label and order, channel and masks, bit for bit."""
    for part, other_part in zip(one, other, strict=True):
        assert np.array_equal(part, other_part)


def test_default_draws_are_what_they_were(index: Index) -> None:
    """By their definition; an augmentation that never comes to pass changes nothing either."""
    plain, never = crops_of(index), crops_of(index, Augmentation([Path("gone")], [Path("gone")], SPEEDS, 0.0))
    for epoch in range(20):
        generator = np.random.default_rng((SEED, epoch, 0))
        first = int(generator.integers(23_456 // 160 + 2 - FRAMES))
        expected = read_frames(index, 0, first, FRAMES), index.gains[0], 0, bool(generator.integers(2))
        assert_same(plain[epoch, 0], expected)
        assert_same(never[epoch, 0], expected)


def test_noise_and_rooms_leave_the_crop_where_it_was(index: Index, sounds: Path) -> None:
    """Their draws are of another generator than its start and order."""
    plain, noisy = crops_of(index), crops_of(index, Augmentation([sounds / "noise" / "white.wav"], decibels=(60, 60)))
    for epoch in range(20):
        (clean, gain, *rest), (samples, own_gain, *own_rest) = plain[epoch, 0], noisy[epoch, 0]
        assert rest == own_rest
        assert np.corrcoef(clean * gain, samples * own_gain)[0, 1] > 0.999


def test_draws_depend_on_seed_epoch_and_row_alone(index: Index, sounds: Path) -> None:
    """The same again in another order; others for another seed, epoch or row."""
    items = [(epoch, row) for epoch in range(5) for row in range(2)]
    first, again = (crops_of(index, everything(sounds, 0.6, **others(0.6))) for _ in range(2))
    drawn = {item: first[item] for item in items}
    for item in reversed(items):
        assert_same(drawn[item], again[item])
    seeds = [crops_of(index, everything(sounds), seed) for seed in (3, 4)]
    assert len({crops[item][0].tobytes() for crops in seeds for item in items}) == 2 * len(items)


def test_every_crop_has_draws_of_its_own(index: Index) -> None:
    """A stream for every seed, epoch and row, none of them that of the crop's start."""
    draws = [
        np.random.default_rng((seed, epoch, row)).random() for seed in (3, 4) for epoch in (0, 1) for row in (0, 1)
    ]

    class Spy(Augmentation):
        def draw_speed(self, generator: np.random.Generator) -> Fraction:
            draws.append(generator.random())
            return Fraction(1)

    for seed in (3, 4):
        crops = crops_of(index, Spy(), seed)
        for item in ((0, 0), (0, 1), (1, 0), (1, 1)):
            crops[item]
    assert len(set(draws)) == len(draws) == 16


def test_each_is_drawn_by_itself(index: Index, sounds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 400 crops a half each, and a quarter any two."""
    calls: list[str] = []
    for module, name in (("datasets", "change_speed"), ("augmentation", "reverberate"), ("augmentation", "add_noise")):
        monkeypatch.setattr(f"data_objects.{module}.{name}", lambda x, *_, name=name: calls.append(name) or x[:COUNT])
    crops, draws = crops_of(index, everything(sounds, 0.5)), Counter()
    for epoch in range(400):
        calls.clear()
        crops[epoch, 0]
        assert calls == [name for name in ("change_speed", "reverberate", "add_noise") if name in calls]  # the order
        draws[tuple(calls)] += 1
    assert len(draws) == 8
    assert all(25 <= count <= 75 for count in draws.values())


def test_others_leave_these_draws_alone(index: Index, sounds: Path) -> None:
    """Samples, order and label are what they were before there were channels and masks; and those, beside no others."""
    spectral = others() | {"babble": 0.0, "has_speed_classes": False}
    plain, more, alone = (
        crops_of(index, augmentation)
        for augmentation in (
            everything(sounds, 0.6),
            everything(sounds, 0.6, **spectral),
            Augmentation(**spectral),
        )
    )
    for epoch in range(10):
        assert_same(plain[epoch, 0], more[epoch, 0][:4])
        assert_same(alone[epoch, 0][4:], more[epoch, 0][4:])
        assert_same(crops_of(index)[epoch, 0], alone[epoch, 0][:4])


def test_parts_that_are_not_drawn_are_not_there(index: Index) -> None:
    """A batch has the parts that the settings ask for; whoever asks for none has the batches of before."""
    for augmentation, there in (
        (None, []),
        (Augmentation(speeds=SPEEDS), []),
        (Augmentation(channel=Channel(gain=1.0)), ["curves"]),
        (Augmentation(time_masks=Masks(3, 5)), ["time_masks"]),
        (Augmentation(frequency_masks=Masks(1, 5)), ["frequency_masks"]),
    ):
        crops = crops_of(index, augmentation)
        batch = collate_crops([crops[0, 0], crops[0, 1]])
        assert [name for name, part in list(batch._asdict().items())[4:] if part is not None] == there
    assert batch.frequency_masks.shape == (2, 1, 2)


# ------------------------------------------------------------------------------------------------------------------
# Speeds that are classes
# ------------------------------------------------------------------------------------------------------------------
def test_every_speed_makes_other_speakers(index: Index) -> None:
    """A label tells speaker and speed; all three speeds are drawn alike, whatever the probability."""
    crops = crops_of(index, Augmentation(speeds=SPEEDS, probability=0.1, has_speed_classes=True))
    alike = crops_of(index, Augmentation(speeds=SPEEDS[:1], probability=1.0))
    labels = Counter(int(crops[epoch, 1][2]) for epoch in range(300))
    assert labels.keys() == {1, 1 + len(SPEAKERS), 1 + 2 * len(SPEAKERS)}
    assert all(70 <= count <= 130 for count in labels.values())
    for epoch in range(10):
        crop = crops[epoch, 0]
        if crop[2] == len(SPEAKERS):  # the first speed's
            np.testing.assert_array_equal(crop[0], alike[epoch, 0][0])
        elif crop[2] == 0:
            assert_same(crop, crops_of(index)[epoch, 0])
    assert crops.augmentation.place_of(Fraction(1)) == 0
    assert [crops.augmentation.place_of(speed) for speed in SPEEDS] == [1, 2]
    assert [alike.augmentation.place_of(speed) for speed in (Fraction(1), SPEEDS[0])] == [0, 0]


# ------------------------------------------------------------------------------------------------------------------
# Babble
# ------------------------------------------------------------------------------------------------------------------
def test_talkers_are_others() -> None:
    """Three to seven, each drawn evenly among the rows of the part that are not the speaker's own."""
    labels = np.array([2, 0, 1, 1, 2, 0, 1, -1])
    rows, generator = np.array([0, 1, 2, 3, 4, 6]), np.random.default_rng(0)
    for label in (0, 1, 2):
        drawn = [Talkers(rows, labels).draw(label, generator) for _ in range(300)]
        assert {len(talkers) for talkers in drawn} == {3, 4, 5, 6, 7}
        counts = Counter(np.concatenate(drawn).tolist())
        assert counts.keys() == {row for row in rows.tolist() if labels[row] != label}
        mean = sum(counts.values()) / len(counts)
        assert all(0.8 * mean < count < 1.2 * mean for count in counts.values())
    with pytest.raises(UserError, match=r"^AUGMENT\.BABBLE needs two speakers to train on or more.*set it to 0$"):
        Talkers(np.array([2, 3, 6]), labels)


def test_babble_is_the_sum_of_utterances(index: Index) -> None:
    """Of the other speaker here, at his level, 13 to 20 dB below; with the probability that was asked for."""
    plain, talking = crops_of(index), crops_of(index, Augmentation(babble=0.5))
    ratios = []
    for epoch in range(100):
        (clean, gain, *rest), (samples, own_gain, *own_rest) = plain[epoch, 0], talking[epoch, 0]
        assert rest == own_rest
        added = samples * float(own_gain) - clean * float(gain)
        if np.abs(added).max() > 10:
            ratios.append(decibels(clean * float(gain), added))
        else:
            assert np.array_equal(samples, clean)
    assert 35 <= len(ratios) <= 65
    assert 12.9 < min(ratios) < 14
    assert 19 < max(ratios) < 20.1


def test_babble_by_its_definition(index: Index) -> None:
    """Utterances of 38 frames, tiled to a crop: of them there is one crop, so that a sum is a multiple of it."""
    (clean, gain, *_), (samples, own_gain, *_) = (
        crops_of(index, augmentation)[0, 0] for augmentation in (None, Augmentation(babble=1.0))
    )
    added = samples * float(own_gain) - clean * float(gain)
    other = read_frames(index, 1, 0, FRAMES).astype(np.float64)
    assert np.corrcoef(added, other)[0, 1] > 0.999


def test_workers_and_beginnings_change_nothing(index: Index, sounds: Path) -> None:
    """Batches of an epoch, and of an epoch that is gone on with."""
    rows = np.array([0, 1] * 4)
    crops = crops_of(index, everything(sounds, 0.6, **others(0.6)))
    batches = [
        list(CropLoader(crops, rows, 2, workers, fewest_frames=40).epoch(1, first))
        for workers, first in ((0, 0), (2, 0), (0, 2))
    ]
    assert len({batch.waveforms.shape for batch in batches[0]}) > 1
    assert {batch.curves.shape for batch in batches[0]} == {(2, 257)}
    assert [len(part) for part in batches] == [4, 4, 2]
    for one, other in [*zip(*batches[:2], strict=True), *zip(batches[0][2:], batches[2], strict=True)]:
        assert_same_batch(one, other)


def test_which_crops_are_augmented(toy: Path, sounds: Path) -> None:
    """Those of the train part; neither the val part nor a search's halves; nothing by default."""
    arguments = options(DATASET__DATA_DIR=toy)
    plain = Corpus(load_config(ROOT / SCRATCH, arguments))
    assert plain.crops("train")._loader.dataset.augmentation is None
    corpus = Corpus(load_config(ROOT / SCRATCH, [*arguments, *(item.format(sounds) for item in ALL)]))
    crops = corpus.crops("train")
    augmentation = crops._loader.dataset.augmentation
    assert (len(augmentation.noises), len(augmentation.responses), augmentation.speeds) == (7, 5, SPEEDS)
    assert augmentation.spectral == (Channel(6.0, 3.0, 0.6, 0.3), Masks(1, 10), Masks(2, 25))
    assert (augmentation.babble, augmentation.has_speed_classes, crops.batches.lengths) == (0.5, True, (40, 64))
    for part in (corpus.crops("val"), *corpus.halves()):
        assert (part._loader.dataset.augmentation, part.batches.lengths) == (None, None)


# ------------------------------------------------------------------------------------------------------------------
# Folders and settings
# ------------------------------------------------------------------------------------------------------------------
def build(folder: Path, *settings: object) -> Augmentation | None:
    """What the options give."""
    return build_augmentation(load_config(ROOT / SCRATCH, [str(item).format(folder) for item in settings]))


@pytest.mark.parametrize(
    ("feature", "norm", "count"),
    [
        ("magnitude", "corpus", 0),
        ("magnitude", "utterance_mean", 0),
        ("magnitude", "utterance_mean_deviation", 2),
        ("log_mel", "corpus", 0),
        ("log_mel", "utterance_mean", 2),
    ],
)
def test_norms_that_undo_a_channel(tmp_path: Path, feature: str, norm: str, count: int) -> None:
    """A warning for each of level and equalisation, where what they do to a spectrum is gone from its features."""
    front_end, warned = ("FRONTEND.FEATURE", feature, "FRONTEND.NORM", norm), WarningCollector()
    build(tmp_path, *front_end, "AUGMENT.EQ_DB", 6, "AUGMENT.GAIN_DB", 6, "AUGMENT.BAND_PROBABILITY", 0.5)
    assert len(warned.messages) == count
    assert all(f"does next to nothing with FRONTEND.NORM {norm}" in message for message in warned.messages)
    magnitudes = np.random.default_rng(0).uniform(0.1, 3, (1, 60, BINS)).astype(np.float32)
    curve = Channel(6.0, 6.0).draw(np.random.default_rng(1))
    own = FrontEnd(settings=settings_of(feature, norm=norm))
    with torch.no_grad():
        plain, changed = (
            own.normalise(own.extract(torch.from_numpy(each))) for each in (magnitudes, magnitudes * curve)
        )
    change = float((changed - plain).square().mean().sqrt() / plain.std())
    assert change < 0.05 if count else change > 0.2


def test_folders_of_any_depth_in_order(tmp_path: Path) -> None:
    """By their names below the folder; what is no audio does not count."""
    names = ["b/a.wav", "a/b/c.FLAC", "a.wav", "a/LICENSE", "a/z.ogg"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = find_recordings("NOISE_DIR", str(tmp_path))
    assert [path.relative_to(tmp_path).as_posix() for path in found] == ["a/b/c.FLAC", "a/z.ogg", "a.wav", "b/a.wav"]


def test_noises_among_the_rooms_are_left_out(tmp_path: Path) -> None:
    """As OpenSLR 28 has them; where nothing else is there, that is said."""
    for name in ("pointsource_noises/noise-free-sound-0000.wav", "simulated_rirs/Room001-00001.wav"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    assert [path.name for path in find_responses(str(tmp_path))] == ["Room001-00001.wav"]
    with pytest.raises(UserError, match=r"^AUGMENT\.RIR_DIR: .*pointsource_noises holds nothing but noises"):
        find_responses(str(tmp_path / "pointsource_noises"))


@pytest.mark.parametrize(
    ("text", "speeds"), [("", []), ("0.9 1.1", SPEEDS), ("0.9,1.0, 1.1", [SPEEDS[0], 1, SPEEDS[1]])]
)
def test_speeds(text: str, speeds: list) -> None:
    """Factors with spaces or commas between them."""
    assert parse_factors(text) == speeds


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            ("AUGMENT.NOISE_DIR", "{}/nowhere"),
            r"AUGMENT\.NOISE_DIR: no such folder: .*nowhere; name one.*leave it empty",
        ),
        (("AUGMENT.RIR_DIR", "{}/empty"), r"AUGMENT\.RIR_DIR: no audio in .*empty .*leave it empty"),
        (("AUGMENT.SPEED", "fast"), r"AUGMENT\.SPEED must be factors from 0\.5 to 2\.0, as in '0\.9 1\.1', not 'fast'"),
        (("AUGMENT.SPEED", "0.9 3"), r"AUGMENT\.SPEED must be factors"),
        (("AUGMENT.SPEED", "nan"), r"AUGMENT\.SPEED must be factors"),
        (("AUGMENT.SPEED", "1/0"), r"AUGMENT\.SPEED must be factors"),
        (("AUGMENT.SNR_MIN", "20"), r"AUGMENT\.SNR_MIN 20\.0 must not be more than AUGMENT\.SNR_MAX 15\.0"),
        (("AUGMENT.EQ_DB", "-3"), r"option: AUGMENT\.EQ_DB must be from 0 to 40, not -3"),
        (("AUGMENT.BABBLE", "2"), r"option: AUGMENT\.BABBLE must be from 0 to 1, not 2"),
        (
            ("AUGMENT.TIME_MASK_FRAMES", "20"),
            r"AUGMENT\.TIME_MASK_FRAMES 20 says nothing: set AUGMENT\.TIME_MASKS",
        ),
        (("AUGMENT.FREQUENCY_MASK_BINS", "9"), r"AUGMENT\.FREQUENCY_MASK_BINS 9 says nothing"),
        (("AUGMENT.SPEED_CLASSES", "True"), r"AUGMENT\.SPEED_CLASSES True needs .*: set AUGMENT\.SPEED"),
        (("AUGMENT.SPEED_CLASSES", "True", "AUGMENT.SPEED", "0.9 1"), r"AUGMENT\.SPEED '0\.9 1' must be .* from 1, of"),
        (("AUGMENT.SPEED_CLASSES", "True", "AUGMENT.SPEED", "0.9 0.90"), r"AUGMENT\.SPEED .* differ from each other"),
        (
            ("AUGMENT.TIME_MASKS", "1", "AUGMENT.TIME_MASK_FRAMES", "300"),
            r"AUGMENT\.TIME_MASK_FRAMES 300 .* 300 frames",
        ),
        (
            ("AUGMENT.TIME_MASKS", 1, "AUGMENT.TIME_MASK_FRAMES", 40, "DATASET.PARTIAL_N_FRAMES_MIN", 40),
            r"AUGMENT\.TIME_MASK_FRAMES 40 must be less than a crop's 40 frames",
        ),
        (
            ("DATASET.PARTIAL_N_FRAMES_MIN", "20"),
            r"DATASET\.PARTIAL_N_FRAMES_MIN must be 0, or at least 32 and .*not 20",
        ),
        (("DATASET.PARTIAL_N_FRAMES_MIN", "300"), r"DATASET\.PARTIAL_N_FRAMES_MIN .* less than .* 300, not 300"),
        (
            ("DATASET.PARTIAL_N_FRAMES_MIN", "200", "TRAIN.COMPILE", "True"),
            r"TRAIN\.COMPILE True is for crops of one length: set it to False, or DATASET\.PARTIAL_N_FRAMES_MIN to 0",
        ),
        (("DATASET.PARTIAL_N_FRAMES_MIN", "200", "TRAIN.CUDA_GRAPHS", "True"), r"TRAIN\.CUDA_GRAPHS True is for crops"),
    ],
)
def test_settings_that_are_refused(tmp_path: Path, settings: tuple[str, ...], message: str) -> None:
    """One line that names the key, the value and what to do."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=rf"^{message}") as raised:
        build(tmp_path, *settings)
    assert "\n" not in str(raised.value)


def test_nothing_is_built_by_default(tmp_path: Path) -> None:
    """Nor by a probability alone."""
    assert build(tmp_path) is None
    assert build(tmp_path, "AUGMENT.PROBABILITY", "1") is None
    assert build(tmp_path, "AUGMENT.SPEED", "0.9").speeds == SPEEDS[:1]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("text.wav", b"no audio", "Format not recognised|Error"),
        ("gone.wav", None, "No such file|System error"),
        ("text.m4a", b"no audio", "cannot be decoded"),
        ("empty.flac", b"", "empty file"),
    ],
)
def test_recording_that_cannot_be_read(tmp_path: Path, name: str, content: bytes | None, reason: str) -> None:
    """One line that names it, says why and what to do."""
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    for read in (read_response, lambda path: read_noise(path, 100, np.random.default_rng(0))):
        with pytest.raises(
            UserError, match=rf"^augmentation cannot use .*{name} \(.*({reason}).*take it out"
        ) as raised:
            read(path)
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["half.wav", "half.flac", "half.ogg", "half.aiff"])
def test_recording_that_is_cut(tmp_path: Path, name: str) -> None:
    """The refusal that preprocessing has for it."""
    path = write_audio(tmp_path / name, noise(40_000), subtype=subtype_of(name))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match=rf"^augmentation cannot use .*{name} \(truncated"):
        read_response(path)


def test_lengths_that_headers_do_not_state(tmp_path: Path) -> None:
    """All that lies there is drawn from."""
    wav = write_audio(tmp_path / "stream.wav", noise(40_000))
    content = bytearray(wav.read_bytes())
    content[40:44] = bytes(4)
    wav.write_bytes(content)
    flac = write_audio(tmp_path / "stream.flac", noise(40_000))
    content = bytearray(flac.read_bytes())
    content[21:26] = bytes([content[21] & 0xF0, 0, 0, 0, 0])
    flac.write_bytes(content)
    for path in (wav, flac):
        assert len(read_response(path)) == 40_000
        assert len({read_noise(path, 1_000, np.random.default_rng(seed)).tobytes() for seed in range(20)}) == 20


def test_folders_of_recordings(tmp_path: Path) -> None:
    """As those of a corpus are: what file managers leave is no audio, a link that leads back up is named."""
    path = write_audio(tmp_path / "a" / "noise.wav", noise(1_000))
    (tmp_path / "a" / "._noise.wav").write_bytes(b"what macOS leaves")
    assert find_recordings("NOISE_DIR", str(tmp_path)) == [path]
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    with pytest.raises(UserError, match=r"^AUGMENT.NOISE_DIR: .*up cannot be used \(link to a folder that it is in\)"):
        find_recordings("NOISE_DIR", str(tmp_path))


def test_recording_that_is_no_use(tmp_path: Path) -> None:
    """Without samples, with values that are no numbers, or a room that is silent."""
    for samples, reason in ((np.zeros(0), "no samples"), (np.full(500, np.nan), "NaN"), (np.zeros(500), "silent")):
        path = write_audio(tmp_path / "sound.wav", samples, subtype="FLOAT")
        with pytest.raises(UserError, match=rf"sound\.wav \(.*{reason}"):
            read_response(path)


# ------------------------------------------------------------------------------------------------------------------
# A whole run
# ------------------------------------------------------------------------------------------------------------------
def test_run_with_everything_on(toy: Path, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trained, with the margin, and evaluated; a checkpoint that other settings do not fit."""
    losses, forward = [], AdditiveAngularMargin.forward
    monkeypatch.setattr(AdditiveAngularMargin, "forward", lambda *given: losses.append(forward(*given)) or losses[-1])
    modern = ["MODEL.POOLING", "attentive", "TRAIN.LOSS", "aam", *(item.format(sounds) for item in ALL)]
    plain = options(DATASET__DATA_DIR=toy, OUT_DIR=tmp_path)
    outcome = call_script("train.py", "--cfg", SCRATCH, "--text_arch", GENOTYPE, *plain, *modern)
    assert outcome.status == 0, outcome.stderr
    said = "2 speeds that make other speakers, babble, channel, time masks, frequency masks"
    assert f"augmentation: 7 noises, 5 room impulse responses, {said}" in outcome.stderr
    assert len(losses) == 24 // 4
    run_dir = only_run(tmp_path, "train")
    checkpoint = load_checkpoint(run_dir / "best.pt", ("train",))
    architecture = checkpoint.architecture
    assert (architecture["pooling"], architecture["loss"], architecture["scale"]) == ("attentive", "aam", 30.0)
    assert (architecture["num_classes"], architecture["speeds"], len(checkpoint.speakers)) == (6, "9/10 11/10", 6)
    assert len(checkpoint.model["classifier.weight"]) == 18
    for step, figure in (("identification", "top1"), ("verification", "eer")):
        arguments = (f"evaluate_{step}.py", "--cfg", SCRATCH, "--load_path", run_dir, *plain)
        gone = ("AUGMENT.NOISE_DIR", "gone", "AUGMENT.SPEED_CLASSES", False)  # what trained it is not needed any more
        done = call_script(*arguments, *modern, *gone)
        assert done.status == 0, done.stderr
        assert 0 <= json.loads(done.last_line)[figure] <= 100
        refused = call_script(*arguments)
        assert refused.status == 2
        assert "its pooling is attentive, the settings say average" in refused.stderr.splitlines()[-1]


def test_search_refuses_augmentation(toy: Path, sounds: Path, tmp_path: Path) -> None:
    """One line, before anything is written."""
    settings = options(DATASET__DATA_DIR=toy, OUT_DIR=tmp_path)
    outcome = call_script("search.py", "--cfg", "exps/mini/search.yaml", *settings, "AUGMENT.SPEED", "0.9")
    assert outcome.status == 2
    assert "AUGMENT.SPEED is for train.py" in outcome.stderr.splitlines()[-1]
    assert not any(tmp_path.iterdir())


# ------------------------------------------------------------------------------------------------------------------
# The synthetic sounds
# ------------------------------------------------------------------------------------------------------------------
def test_toy_sounds_are_the_same_every_time(sounds: Path, tmp_path: Path) -> None:
    """Of a seed; another one gives others. A folder that holds something is left alone."""
    call_script("tools/make_toy_noise.py", tmp_path / "again", "--seconds", 2)
    call_script("tools/make_toy_noise.py", tmp_path / "other", "--seconds", 2, "--seed", 1)
    for path in sounds.rglob("*.wav"):
        same, other = (tmp_path / name / path.relative_to(sounds) for name in ("again", "other"))
        assert path.read_bytes() == same.read_bytes() != other.read_bytes()
    refused = call_script("tools/make_toy_noise.py", sounds)
    assert (refused.status, "not an empty folder" in refused.stderr) == (2, True)


@pytest.mark.parametrize(("milliseconds"), [200, 1300])
def test_toy_rooms_have_their_reverberation_time(sounds: Path, milliseconds: int) -> None:
    """The energy that is left falls by 60 dB in it: between -5 and -25 dB of the decay by 20, by the slope."""
    response = read_response(sounds / "rir" / f"room-{milliseconds}ms.wav")
    decay = response[int(response.argmax()) + 1 :].astype(np.float64)
    left = 10 * np.log10(np.cumsum(np.square(decay)[::-1])[::-1] / np.square(decay).sum() + 1e-12)
    seconds = (np.argmax(left < -25) - np.argmax(left < -5)) / 16_000
    assert 3 * seconds == pytest.approx(milliseconds / 1000, rel=0.1)
