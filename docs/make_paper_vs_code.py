"""Write the table of docs/paper-vs-code.md: what paper and published code say, and what is done.

    python docs/make_paper_vs_code.py

The words stand below, the values come from the presets. A test fails when the page is out of date,
when a key does not exist, or when a test that the table names does not.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from generated import between, bring_up_to_date

from clan.config.loading import load_config

PAGE = Path(__file__).with_name("paper-vs-code.md")
BEGIN = "<!-- rows: written by docs/make_paper_vs_code.py -->"
END = "<!-- end of rows -->"
HEAD = "| # | what | paper | published code | here: `paper`; `reference`; `modern` | pinned by |"
VARIANTS = ("paper", "reference", "modern")

LOSSES = "losses/test_losses.py"
PARITY = "methods/test_parity.py"
DIFFERENCES = "methods/test_differences.py"
NETWORKS = "models/test_networks.py"
UPDATES = f"{PARITY}::test_three_updates_are_the_restated_ones"


@dataclass(frozen=True)
class Row:
    """One difference. ``keys`` are options, ``note`` says why there is none or what else is so."""

    number: str
    what: str
    paper: str
    code: str
    keys: tuple[str, ...] = ()
    note: str = ""
    tests: tuple[str, ...] = (UPDATES,)


def _both(part: str, *keys: str) -> tuple[str, ...]:
    return tuple(f"{group}.{key}" for group in part.split() for key in keys)


VIEWS = "data.source_view data.target_view"
TWO = "optim.segmenter optim.discriminator"

ROWS = (
    Row(
        "1",
        "segmentation loss",
        "cross-entropy of the ensemble (Eq. 3)",
        "focal, gamma 2, on each classifier, summed",
        ("method.segmentation", "method.loss.name", "method.loss.gamma"),
        tests=(UPDATES, f"{LOSSES}::test_focal_follows_its_formula"),
    ),
    Row(
        "2",
        "clamp of probabilities",
        "-",
        "1e-9 to 1 - 1e-9; the upper end is 1 in float32",
        ("method.loss.clamp",),
        "Felt only where a true class has less than 1e-9: such a pixel then teaches nothing.",
        (f"{DIFFERENCES}::test_clamped_pixels_give_no_gradient",),
    ),
    Row(
        "3",
        "ensemble",
        "p1 + p2",
        "softmax of the summed logits, in scoring too",
        ("model.ensemble",),
        "The paper's sum is halved, so that D reads probabilities.",
        (UPDATES, f"{NETWORKS}::test_ensembles"),
    ),
    Row(
        "4",
        "alignment map M",
        "1 - cos(p1, p2)",
        "the same, of up-sampled logits",
        ("method.distance",),
    ),
    Row(
        "5",
        "gradient through M in G's step",
        '"adaptive weight"',
        "flows",
        ("method.detach_map",),
        tests=(UPDATES, "methods/test_methods.py::test_a_clan_step_is_the_papers_equations"),
    ),
    Row(
        "6",
        "M in D's loss",
        "weighs the target's term (Eq. 5)",
        "the same; M detached",
        ("method.weigh_discriminator",),
        "D never learns through M.",
        (f"{DIFFERENCES}::test_the_map_weighs_g_alone_if_asked",),
    ),
    Row(
        "7",
        "form of the weighted loss",
        "(lambda_local M + epsilon) log(1 - D)",
        "epsilon BCE + lambda_local M BCE",
        note="No option: the two are equal.",
        tests=(f"{LOSSES}::test_weighted_loss_is_weight_times_binary_cross_entropy",),
    ),
    Row(
        "8",
        "reduction",
        "sum, or expectation",
        "mean over pixels",
        note="No option: always the mean, which the weights of the losses are made for. A sum over "
        "images of one size is the mean with other rates and weights.",
        tests=(f"{DIFFERENCES}::test_the_mean_is_the_sum_over_the_pixels",),
    ),
    Row(
        "9",
        "factor of D's two terms",
        "1",
        "1; TAN's code 1/2",
        ("method.discriminator_factor",),
        "Adam hardly feels it. Logged losses are before the factor.",
        (f"{DIFFERENCES}::test_the_discriminators_factor_scales_its_step_alone",),
    ),
    Row(
        "10",
        "D's learning rate",
        "5e-5, fixed",
        "1e-4, warm-up over 5,000, then poly 0.9",
        tuple(f"optim.discriminator.{k}" for k in ("lr", "schedule", "warmup_steps", "warmup")),
        tests=(UPDATES, "optim/test_optim.py::test_a_warmup_that_jumps_is_the_published_rate"),
    ),
    Row("11", "D's weight decay", "5e-4", "none", ("optim.discriminator.weight_decay",)),
    Row(
        "12",
        "G's learning rate",
        "2.5e-4, poly 0.9 from the start",
        "i / 5,000 of 2.5e-4 for i < 5,000, then poly 0.9, which begins at 0.955",
        ("optim.segmenter.warmup_steps", "optim.segmenter.warmup"),
        tests=(UPDATES, "optim/test_optim.py::test_a_warmup_that_jumps_is_the_published_rate"),
    ),
    Row(
        "13",
        "pre-heating",
        "none",
        "plain adversarial loss for steps 0 to 5,000",
        ("method.preheat_steps",),
        tests=(UPDATES, f"{DIFFERENCES}::test_the_preheating_lasts_as_many_steps_as_it_says"),
    ),
    Row(
        "14",
        "damping",
        "none",
        "1 - i / 100,000 on lambda_adv and lambda_weight",
        ("method.damping",),
        tests=(UPDATES, "methods/test_methods.py::test_damping_fades_the_adversary"),
    ),
    Row(
        "15",
        "weight discrepancy",
        "cos(w1, w2) of the filters, 0.01",
        "(cos + 1) of filters and biases, 0.01 x 2",
        ("method.lambda_weight", "method.discrepancy_biases"),
        "The 1 has no gradient.",
        (
            UPDATES,
            f"{DIFFERENCES}::test_the_discrepancy_with_biases_is_the_cosine_of_all_parameters",
            f"{DIFFERENCES}::test_one_added_to_the_cosine_moves_nothing",
        ),
    ),
    Row("16", "lambda_local", "40", "GTA5 40, SYNTHIA 10", ("method.lambda_local",)),
    Row("17", "epsilon", "0.4", "0.4", ("method.epsilon",)),
    Row(
        "18",
        "input",
        "crop of 512x1024",
        "whole images: GTA5 at 720x1280, SYNTHIA at 760x1280, Cityscapes at 512x1024",
        _both(VIEWS, "size", "crop"),
        tests=("training/test_preset_trainings.py::test_every_preset_trains_and_scores",),
    ),
    Row(
        "19",
        "augmentation",
        "not stated",
        "mirrored half of the time; the image alone x 0.8, 1 or 1.1 (30, 40, 30 %)",
        (*_both(VIEWS, "flip"), "data.source_view.image_scales", "data.target_view.image_scales"),
        "`modern` scales images with their labels (`scale`) and jitters colours.",
        (
            UPDATES,
            "data/test_image_scales.py::test_factors_come_with_their_chances",
            "data/test_image_scales.py::test_sizes_are_rounded_down_as_published",
        ),
    ),
    Row(
        "20",
        "initial weights",
        "ImageNet",
        "ImageNet and COCO; classifiers fresh",
        ("weights", "model.input"),
        tests=("weights/test_convert.py::test_an_encoder_file_starts_a_training",),
    ),
    Row(
        "21",
        "batch norm",
        "not stated",
        "the batch of one image in training, both domains remembered; scale and shift fixed",
        ("method.batch_norm", "model.freeze_affine"),
        tests=(UPDATES, f"{NETWORKS}::test_batch_norm_modes_remember_what_their_table_says"),
    ),
    Row(
        "22",
        "batch size",
        "not stated",
        "1 + 1; more crashes",
        ("data.batch_size",),
        "Any size works here.",
        ("methods/test_methods.py::test_accumulation_gives_the_same_update",),
    ),
    Row(
        "23",
        "optimizer groups",
        "-",
        "104 encoder tensors listed 314 times: a step three or four times as large",
        ("optim.segmenter.lr", "optim.segmenter.head_multiplier", "optim.segmenter.step_repeats"),
        "See [below](#listed-three-and-four-times).",
        (
            UPDATES,
            "optim/test_repeated.py::test_repeated_steps_are_those_of_torch_with_duplicates",
            "optim/test_repeated.py::test_104_tensors_are_listed_314_times",
        ),
    ),
    Row(
        "24",
        "branches of the classifier",
        "DeepLab-v2's four",
        "four; TAN's code runs two",
        ("model.aspp_rates",),
        tests=(UPDATES, f"{NETWORKS}::test_aspp_is_the_sum_of_its_branches"),
    ),
    Row(
        "25",
        "two classifiers",
        "copies of the last module",
        "both fresh, std 0.01",
        ("model.classifiers",),
        "Copies with equal weights would stay equal; both start fresh here.",
        (f"{NETWORKS}::test_the_two_classifiers_start_apart",),
    ),
    Row(
        "26",
        "VGG16-FCN8s",
        "in the tables",
        "absent",
        note="No option but presets: see [below](#vgg16).",
        tests=(
            "models/test_fcn8s.py::test_logits_are_those_of_the_published_network",
            "training/test_preset_trainings.py::test_the_task_presets_are_all_there",
        ),
    ),
    Row(
        "27",
        "source only and TAN",
        "in the tables",
        "absent",
        note="No option but presets: see [below](#source-only-and-tan).",
        tests=(UPDATES, "training/test_preset_trainings.py::test_the_task_presets_are_all_there"),
    ),
    Row(
        "28",
        "outputs for SYNTHIA",
        "13 classes are reported",
        "19",
        ("data.classes",),
        "Without it, all of the source's: 19. The 13 are a subset of either to score over.",
        ("training/test_preset_trainings.py::test_sixteen_outputs_learn_from_sixteen_classes",),
    ),
    Row(
        "29",
        "domain labels",
        "source 1",
        "source 0",
        note="No option: source is 0. Nothing but the sign of D's logits depends on it.",
    ),
    Row(
        "30",
        "seed",
        "-",
        "`--random-seed` is not read",
        ("seed",),
        "The same seed gives the same run; no seed gives the published one.",
        ("training/test_training.py::test_seeds_change_everything",),
    ),
    Row(
        "31",
        "which snapshot",
        "not stated",
        "the best of 49 on the validation split",
        ("training.evaluate_every",),
        "Reported is always the last. Every 2,000 steps would show in `metrics.jsonl` what that "
        "selection had to choose from.",
        (
            "training/test_preset_trainings.py::test_the_last_step_is_reported_however_many_were_scored",
        ),
    ),
    Row(
        "32",
        "command line",
        "-",
        "options that nothing reads; `--source` does not switch sizes and weights",
        note="No option: presets switch all that belongs to a task, and what nothing reads is "
        "refused.",
        tests=("config/test_presets.py::test_every_field_is_read_by_some_code",),
    ),
    Row(
        "33",
        "sign in Eq. 7",
        "min-max of a loss with minus signs",
        "both players minimise a cross-entropy",
        note="No option: a slip of the pen. Both players minimise.",
    ),
    Row(
        "34",
        "files that cannot be read",
        "-",
        "the neighbouring image is taken; sizes that differ are skipped in scoring",
        note="No option: an error that names the file.",
        tests=(
            "data/test_loading.py::test_unreadable_file_while_training",
            "data/test_datasets.py::test_sizes_that_differ",
        ),
    ),
    Row(
        "a",
        "D's output",
        "up-sampled to the map",
        "likewise, corners aligned; TAN's code: one per patch",
        ("method.discriminator_upsampling",),
        tests=(
            UPDATES,
            f"{DIFFERENCES}::test_the_discriminator_answers_per_patch_or_per_pixel",
        ),
    ),
    Row(
        "b",
        "where blocks stride and how the pool rounds",
        "-",
        "in the first 1x1 convolution; up",
        ("model.stride_in", "model.ceil_mode", "model.dilate_first"),
        "They belong to the weights of row 20.",
        (f"{NETWORKS}::test_where_a_bottleneck_strides", f"{NETWORKS}::test_ceil_mode_rounds_up"),
    ),
    Row(
        "c",
        "scoring",
        "up-sampled by 2",
        "in one step from the classifiers' resolution",
        ("data.evaluation_protocol", "model.align_corners"),
        tests=(
            "scoring/test_protocol.py::test_the_paper_goes_through_the_input_size",
            "scoring/test_protocol.py::test_the_reference_up_samples_once",
        ),
    ),
)


def main() -> None:
    """Bring the page up to date and say whether it was."""
    bring_up_to_date(PAGE, updated)


def updated(page: str) -> str:
    """Return the page with the rows of today's presets between its marks."""
    rule = "|".join(" --- " for _ in range(HEAD.count("|") - 1))
    lines = [HEAD, f"|{rule}|", *(_line(row) for row in ROWS)]
    return between(page, BEGIN, END, "\n".join(lines) + "\n")


def _line(row: Row) -> str:
    here = [f"`{key}`: {values(key)}" for key in row.keys]
    if row.note:
        here.append(row.note)
    tests = [f"[`{t.partition('::')[2]}`](../tests/{t.partition('::')[0]})" for t in row.tests]
    cells = (row.number, row.what, row.paper, row.code, "<br>".join(here), "<br>".join(tests))
    return f"| {' | '.join(cells)} |"


def values(key: str) -> str:
    """Return what the three ResNet-101 presets of clan have at a key; once, if they agree."""
    found = []
    for variant in VARIANTS:
        gta5, synthia = (_value(_look_up(_preset(t, variant), key)) for t in ("gta5", "synthia"))
        found.append(gta5 if gta5 == synthia else f"{gta5} (SYNTHIA {synthia})")
    return found[0] if len(set(found)) == 1 else "; ".join(found)


@cache
def _preset(task: str, variant: str) -> dict[str, Any]:
    return load_config(f"{task}-cityscapes/{variant}/resnet101/clan").model_dump(mode="json")


def _look_up(tree: Any, key: str) -> Any:
    for part in key.split("."):
        # an option of a loss or method that the preset does not name
        tree = None if tree is None else tree.get(part)
    return tree


def _value(value: Any) -> str:
    if value is None or value == []:
        return "none"
    if isinstance(value, float):
        return f"`{value:g}`"
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


if __name__ == "__main__":
    main()
