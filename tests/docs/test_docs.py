"""The documents say what the program does: links, commands, keys, snippets and tables hold."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer.main
import yaml

import clan
from clan.cli import app
from clan.config.files import matching_presets, preset_names
from clan.config.loading import load_config
from clan.config.tree import Config
from clan.core.options import Options
from clan.data.classes import class_set
from clan.data.description import Description
from clan.losses.segmentation import LOSSES
from clan.methods import METHODS
from clan.studies.bench.task import open_task
from clan.studies.sweep.grid import expand, parse_grid
from tests.test_rooms import ROOMS

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("src/**/*.md"),
        *ROOT.glob("benchmarks/**/*.md"),
    ]
)
TRAIN_OWN = ["train", "adapt.yaml"]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
PACKAGE = ROOT / "src" / "clan"
CODE = re.compile(rf"`((?:src|tests|docs)/[^\s`*<]+|(?:{'|'.join(ROOMS)})/[\w/]+\.py)`")
"""A path in the repository or, of a module, in the package."""
NEW = re.compile(r"^<!-- new: (\S+) -->$", re.MULTILINE)
"""A file that a page lets the reader write."""
SPAN = re.compile(r"`(clan [^`]+)`")
PLACEHOLDER = re.compile(r"[A-Z_]+(\.\.\.)?$")


def _fences(page: Path, *languages: str) -> list[str]:
    return [body for language, body in FENCE.findall(page.read_text()) if language in languages]


def _commands(page: Path) -> list[list[str]]:
    """Return the words of every `clan ...` on a page, in console blocks and in running text."""
    lines = [
        line.strip().removeprefix("$ ")
        for block in _fences(page, "console")
        for line in block.replace("\\\n", " ").splitlines()
    ]
    spans = SPAN.findall(FENCE.sub("", page.read_text()).replace("\n", " "))
    found = []
    for text in [*(line for line in lines if line.startswith("clan ")), *spans]:
        # what follows on the line is the shell's: a redirection, another command, a comment
        words = shlex.split(re.split(r"\s[>|;&]", text)[0], comments=True)
        # `clan train` alone, and `clan train ...`, speak of the command
        if len(words) > 1 and words[-1] != "...":
            found.append(words[1:])
    return found


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    cleaned = (h.strip().lower().replace(" ", "-") for h in headings)
    return {"".join(c for c in h if c.isalnum() or c in "-_") for h in cleaned}


def _resolve(words: list[str]) -> tuple[str, Any, list[str]]:
    """Follow the sub-commands; returns full name, command, and the words that are left."""
    command, name = typer.main.get_command(app), []
    while hasattr(command, "commands") and words != ["--help"]:
        assert words, f"clan {' '.join(name)}: a sub-command is missing"
        assert words[0] in command.commands, f"unknown command: clan {' '.join([*name, words[0]])}"
        command = command.commands[words[0]]
        name.append(words[0])
        words = words[1:]
    return " ".join(name), command, words


def _key_exists(key: str) -> bool:
    groups: list[type[Options]] = [Config]
    for part in key.split("."):
        fields = [g.model_fields[part] for g in groups if part in g.model_fields]
        if not fields:
            return False
        if part == "method":
            groups = [m.Options for m in METHODS.values()]
        elif part == "loss":
            groups = [loss.Options for loss in LOSSES.values()]
        else:
            groups = [g for field in fields for g in _groups(field.annotation)]
    return True


def _groups(annotation: Any) -> list[type[Options]]:
    if isinstance(annotation, type) and issubclass(annotation, Options):
        return [annotation]
    return [g for inner in getattr(annotation, "__args__", ()) for g in _groups(inner)]


def _check_configuration(preset: str, overrides: list[str]) -> None:
    overrides = [o for o in overrides if not PLACEHOLDER.fullmatch(o) and "KEY=" not in o]
    for override in overrides:
        key = override.partition("=")[0]
        assert _key_exists(key), f"{override}: there is no key {key}"
    if preset in preset_names():
        load_config(preset, overrides)
    elif (ROOT / preset).suffix == ".yaml" and (ROOT / preset).is_file():
        load_config(ROOT / preset, overrides)
    else:
        own = preset.endswith(".yaml") or PLACEHOLDER.fullmatch(preset)
        assert own, f"{preset} is neither a preset nor a configuration file"


def _check_bench(parameters: dict[str, Any]) -> None:
    task = parameters["task"]
    if task.endswith("/") or PLACEHOLDER.fullmatch(task):
        return
    folder = ROOT / task
    systems = [name for each in parameters["systems"] or () for name in each.split(",")]
    overrides = [o for o in parameters["overrides"] or () if "KEY=" not in o]
    opened = open_task(str(folder) if folder.is_dir() else task)
    assert opened.systems(systems, overrides)
    assert parameters["notes"] is None or (ROOT / parameters["notes"]).is_file()


@pytest.fixture(params=PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def page(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


@pytest.mark.parametrize("name", sorted(p.stem for p in (ROOT / "docs").glob("make_*.py")))
def test_what_programs_write_is_up_to_date(
    docs_program: Callable[[str], ModuleType], name: str
) -> None:
    program = docs_program(name)
    content = program.PAGE.read_text()
    assert program.updated(content) == content, f"run python docs/{name}.py"


def test_the_configuration_page_has_the_options_of_methods() -> None:
    assert "`method.epsilon`" in (ROOT / "docs" / "configuration.md").read_text()


def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for link in LINK.findall(FENCE.sub("", page.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            broken.append(link)
    assert not broken


def _lacking(page: Path) -> list[str]:
    """Return the files of the package, by their path in it or in the repository, that are not."""
    text, lacking = page.read_text(), []
    for path in set(CODE.findall(text)) - set(NEW.findall(text)):
        root = ROOT if path.split("/")[0] in ("src", "tests", "docs", "benchmarks") else PACKAGE
        if not (root / path).exists():
            lacking.append(path)
    return sorted(lacking)


def test_files_that_pages_name_exist(page: Path) -> None:
    assert _lacking(page) == []


def test_a_file_that_does_not_exist_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("`losses/alignment.py`, `losses/mis.py`, `src/clan/mis`, `town/clan`, `cli`")
    assert _lacking(page) == ["losses/mis.py", "src/clan/mis"]


def test_commands_are_ones_that_exist(page: Path) -> None:
    for words in _commands(page):
        name, command, rest = _resolve(words)
        if rest in ([], ["--help"]):
            # running text that names a command, as in "`clan predict` does the same"
            continue
        parameters = command.make_context(name, list(rest)).params
        if name in ("train", "data check"):
            first = parameters["preset" if name == "train" else "config"]
            described = name == "data check" and not parameters["overrides"]
            if not (described and first.endswith("/")):
                _check_configuration(first, parameters["overrides"] or [])
        if name == "bench":
            _check_bench(parameters)
        if name == "sweep" and not PLACEHOLDER.fullmatch(parameters["preset"]):
            expand(parameters["preset"], parse_grid(parameters["grid"]))
        for preset in parameters.get("names") or []:
            if not PLACEHOLDER.fullmatch(preset):
                assert matching_presets(preset)


def test_python_snippets_compile_and_use_public_names(page: Path) -> None:
    for snippet in _fences(page, "python"):
        tree = ast.parse(snippet)
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert node.value.id != "clan" or node.attr in clan.__all__, node.attr


def test_yaml_snippets_are_valid(page: Path, tmp_path: Path) -> None:
    for snippet in _fences(page, "yaml"):
        tree = yaml.safe_load(snippet)
        if "method" in tree:
            Config.model_validate({k: v for k, v in tree.items() if k != "extends"})
        elif "extends" in tree:
            (tmp_path / "adapt.yaml").write_text(snippet)
            load_config(tmp_path / "adapt.yaml")
        elif "splits" in tree:
            description = Description.model_validate(tree)
            if isinstance(description.classes, dict):
                description.labels.label_map(class_set(description.classes))
        else:
            class_set(tree)


@pytest.mark.parametrize("name", ["README.md", "docs/quickstart.md"])
def test_the_run_on_own_data_is_valid_with_what_each_command_sets(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = ROOT / name
    monkeypatch.chdir(tmp_path)
    (run,) = (text for text in _fences(page, "yaml") if text.startswith("extends: own/"))
    Path("adapt.yaml").write_text(run)
    commands = [words[2:] for words in _commands(page) if words[:2] == TRAIN_OWN]
    assert commands
    for overrides in commands:
        load_config("adapt.yaml", [word for word in overrides if not word.startswith("weights")])


def test_the_checks_see_the_pages() -> None:
    """Keep the checks above from passing because they found nothing."""
    assert len(PAGES) >= 6
    assert sum(len(_commands(page)) for page in PAGES) > 20
    assert sum(len(_fences(page, "yaml")) for page in PAGES) > 3
    with pytest.raises(AssertionError, match="unknown command"):
        _resolve(["tran", "town/clan"])
    with pytest.raises(AssertionError, match="no key"):
        _check_configuration("town/clan", ["method.epsilom=1"])
    assert not _key_exists("data.targett")
    assert _key_exists("data.target.dataset")
    assert _key_exists("optim.segmenter.lr")
