"""What the comparisons set for each of their trainings."""

from config import default_config, override
from models import STATISTICS, build_baseline
from tools.comparison.engine import settings_of


def test_statistics_take_nothing_of_a_recipe() -> None:
    """Whatever it sets that they would refuse."""
    recipe = "DATASET.SAMPLING balanced FRONTEND.FEATURE log_mel AUGMENT.EQ_DB 6 AUGMENT.TIME_MASKS 2 TRAIN.LOSS aam "
    recipe += (
        "DATASET.PARTIAL_N_FRAMES_MIN 100 TRAIN.SUBCENTERS 3 TRAIN.EMA 0.9 TRAIN.KEEP_EPOCHS 1 MODEL.POOLING attentive"
    )
    cfg = override(default_config(), recipe.split())
    assert build_baseline(settings_of(cfg, STATISTICS, "dev", 1), 3).architecture["kind"] == STATISTICS
    assert settings_of(cfg, "resnet18", "dev", 1).FRONTEND.FEATURE == "log_mel"
