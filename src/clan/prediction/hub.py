"""Networks on a hub of models: pushed with a written card, pulled by name."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from clan.config.loading import load_written
from clan.config.tree import Config, DataOptions, DomainOptions
from clan.core.errors import WeightsError
from clan.core.extras import require_extra
from clan.core.files import make_folder, write_whole
from clan.data.names import name_in_layout
from clan.data.sizes import size_text
from clan.models.segmenter import Segmenter
from clan.prediction.predictor import Predictor
from clan.scoring.evaluation_file import FILE, Evaluation, read_evaluation
from clan.scoring.metrics import Scores
from clan.scoring.rendering import score_notes
from clan.weights.hf import is_hf
from clan.weights.model_files import load_segmenter, model_file, save_model

MODEL, CARD = "model.safetensors", "README.md"


def push_to_hub(
    model: str | Path, repo: str, *, private: bool = False, licence: str | None = None
) -> str:
    """Upload a trained network with a model card to a repository of Hugging Face's hub.

    The card says what the network does, on which data and by which method it was trained, its
    scores and how it was scored, as far as the run's folder holds them.

    Args:
        model: the folder of a finished run, or a ``model.safetensors``.
        repo: ``name/repository``; made if it does not exist.
        private: make a new repository private.
        licence: what the card names, such as ``cc-by-4.0``; None leaves it to the author. The
            terms of the data and of the weights that the training started from may bind you.

    Returns:
        The page of what was uploaded.

    Raises:
        WeightsError: no model there, or the hub refuses it.
        ConfigError: the extra `hub` is not installed.

    Example:
        clan.push_to_hub("runs/clan/seed0", "me/street-segmenter")
    """
    require_extra("huggingface_hub", "hub", "the hub")
    import huggingface_hub

    with tempfile.TemporaryDirectory() as folder:
        save_for_hub(model, Path(folder), repo, licence)
        api = huggingface_hub.HfApi()
        try:
            api.create_repo(repo, private=private, exist_ok=True)
            found = api.upload_folder(repo_id=repo, folder_path=folder)
        except (OSError, ValueError) as error:
            # what the hub's client raises: HTTP errors, no network, no login, a malformed name
            raise WeightsError(f"{repo}: cannot be uploaded: {error}") from error
    return str(found)


def from_hub(repo: str | Path, device: str = "auto", revision: str | None = None) -> Predictor:
    """Load a network that `push_to_hub` uploaded; from a local folder without a network.

    Args:
        repo: ``name/repository``, or a folder that holds what such a repository holds.
        device: where the network runs; ``auto`` takes a GPU where there is one.
        revision: a branch, tag or commit; None for the newest.

    Returns:
        A predictor, as `load`.

    Raises:
        WeightsError: no such repository, or none of our models in it.
        ConfigError: the extra `hub` is not installed, or an unknown device.

    Example:
        label = clan.from_hub("me/street-segmenter").predict("photo.jpg")
    """
    if Path(repo).is_dir():
        return Predictor(load_segmenter(repo), device)
    require_extra("huggingface_hub", "hub", "the hub")
    import huggingface_hub

    try:
        file = huggingface_hub.hf_hub_download(str(repo), MODEL, revision=revision)
    except (OSError, ValueError) as error:
        raise WeightsError(f"{repo}: cannot be downloaded: {error}") from error
    return Predictor(load_segmenter(file), device)


def save_for_hub(
    model: str | Path, folder: Path, repo: str | None = None, licence: str | None = None
) -> None:
    """Write what a repository of the hub holds: the model file and its card.

    Raises:
        WeightsError: no model there, or the folder cannot be written.
    """
    path = model_file(Path(model))
    segmenter = load_segmenter(path)
    run = path.parent
    config = load_written(run / "config.yaml") if (run / "config.yaml").is_file() else None
    make_folder(folder, WeightsError)
    save_model(segmenter, folder / MODEL)
    card = model_card(segmenter, config, _scores(run), repo, licence)
    write_whole(folder / CARD, card, WeightsError)


def model_card(
    segmenter: Segmenter,
    config: Config | None = None,
    evaluation: Evaluation | None = None,
    repo: str | None = None,
    licence: str | None = None,
) -> str:
    """Return a model card in Markdown: task, data, method, scores and how they were made."""
    head: dict[str, Any] = {
        "library_name": "clan",
        "pipeline_tag": "image-segmentation",
        "tags": ["semantic-segmentation", "domain-adaptation"],
    }
    if licence is not None:
        head["license"] = licence
    options, classes = segmenter.options, segmenter.classes
    lines = [
        *_front(head),
        f"# {repo or (config.name if config else 'A segmentation network')}",
        "",
        f"Semantic segmentation of images into {len(classes)} classes ({classes.name}): "
        f"{', '.join(classes.names)}.",
        "",
        f"Network: encoder `{options.encoder}`, decoder `{options.decoder}`, "
        f"{options.classifiers} classifier(s). It takes uint8 RGB and normalises inside; images "
        f"are shown at {_size(segmenter)}.",
        "",
        "## Training",
        "",
        *_training(config),
        "",
        "## Scores",
        "",
        *_scored(evaluation),
        "",
        "## Use",
        "",
        "```python",
        "import clan",
        "",
        f'model = clan.from_hub("{repo or "name/repository"}")',
        'label = model.predict("photo.jpg")  # uint8 (H, W), indices into model.classes',
        "```",
        "",
        "## Licence",
        "",
        licence
        or "Not chosen yet: the author of these weights has to name one. The terms of the data and "
        "of the weights that the training started from apply.",
        "",
    ]
    return "\n".join(lines)


def _front(head: Mapping[str, Any]) -> list[str]:
    return ["---", yaml.safe_dump(dict(head), sort_keys=False).strip(), "---", ""]


def _size(segmenter: Segmenter) -> str:
    size = segmenter.evaluation_size
    return "their own size" if size is None else f"{size_text(size)} (height x width)"


def _training(config: Config | None) -> list[str]:
    if config is None:
        return ["How it was trained is not known: the model file stood alone."]
    data = config.data
    lines = [
        f"- Method: `{config.method.name}`, {config.training.steps:,} steps, seed {config.seed}.",
        f"- Source (labelled): {_data_name(data, data.source)}.",
    ]
    if data.target is not None:
        lines.append(f"- Target (its labels were not used): {_data_name(data, data.target)}.")
    if config.weights:
        lines.append(f"- Started from: {_named(config.weights)}.")
    return lines


def _data_name(data: DataOptions, domain: DomainOptions) -> str:
    name = name_in_layout(domain.dataset, Path(data.root or "", domain.shown_root))
    return _named(name) if name == domain.dataset else f"`{name}`"


def _named(text: str) -> str:
    """Return the name of a data set or file, without the folders of the author's machine."""
    return f"`{text if is_hf(text) else Path(text).name}`"


def _scored(evaluation: Evaluation | None) -> list[str]:
    if evaluation is None:
        return ["Not scored."]
    scores: Scores = evaluation.scores
    lines = [
        f"mIoU {100 * scores.miou():.1f} on {evaluation.dataset} {evaluation.split} "
        f"({scores.images} images), of the {evaluation.checkpoint} checkpoint.",
        "",
        "| class | IoU % |",
        "| --- | ---: |",
        *(
            f"| {name} | {'-' if math.isnan(value) else f'{100 * value:.1f}'} |"
            for name, value in scores.iou.items()
        ),
        "",
        *score_notes(scores),
    ]
    return lines


def _scores(run: Path) -> Evaluation | None:
    """Return the scores beside a model; one without any is still a model to share."""
    return read_evaluation(run) if (run / FILE).is_file() else None
