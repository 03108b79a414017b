"""The pages cannot drift: every command in them is one that exists, and what can run quickly is run."""

import contextlib
import io
import re
import shlex
from pathlib import Path

import pytest

from edge_runtime.cli import VERBS, main
from edge_runtime.measure import drop_bound
from export.verdict import confidence

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("README.md", "README.tr.md", "CONTRIBUTING.md")


def commands(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
        for line in block.splitlines():
            yield from (part.strip() for part in line.split("&&"))
    yield from re.findall(r"`((?:lokma|make|python -m) [^`…]+)`", text)


def help_of(verb):
    said = io.StringIO()
    with contextlib.redirect_stdout(said), pytest.raises(SystemExit) as stopped:
        main([verb, "--help"])
    assert stopped.value.code == 0
    return said.getvalue()


@pytest.mark.parametrize("page", PAGES)
def test_every_lokma_command_on_a_page_names_a_verb_and_flags_that_exist(page):
    seen = 0
    for command in commands(page):
        words = shlex.split(command)
        if Path(words[0]).name != "lokma" or len(words) < 2 or not words[1].isalpha():
            continue
        assert words[1] in VERBS, command
        flags = [word for word in words if word.startswith("--")]
        known = help_of(words[1]) if flags else ""
        assert all(flag in known for flag in flags), command
        seen += 1
    assert seen or page == "CONTRIBUTING.md"


@pytest.mark.parametrize("page", PAGES)
def test_every_make_target_on_a_page_exists(page):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for command in commands(page):
        words = shlex.split(command)
        if words[0] == "make":
            wanted = [word for word in words[1:] if "=" not in word]
            assert set(wanted) <= targets, command


@pytest.mark.parametrize("page", PAGES)
def test_every_linked_file_exists(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert target.startswith("http") or (ROOT / target).exists(), target


def test_the_python_example_of_the_readme_prints_what_it_says():
    code = re.search(r"```python\n(.*?)```\n\nprints `(\d)`", (ROOT / "README.md").read_text(), re.DOTALL)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(code[1], {})
    assert said.getvalue().strip() == code[2] == "7"


def test_the_turkish_readme_has_the_same_blocks_tables_and_pictures_as_the_english_one():
    english, turkish = ((ROOT / page).read_text(encoding="utf-8") for page in PAGES[:2])

    def blocks(text):
        return re.findall(r"```(?:sh|python)\n.*?```", text, re.DOTALL)

    assert blocks(turkish) == blocks(english)
    for generated in (r"\[\[\[cog.*?mobile_demo\.readme", r"\n!\[", r"\n\| (?:onnx|xnnpack)-\w+ "):
        assert len(re.findall(generated, turkish, re.DOTALL)) == len(re.findall(generated, english, re.DOTALL)) > 0
    assert re.findall(r"^\| `lokma (\w+)` \|", turkish, re.MULTILINE) == list(VERBS)
    assert (
        len(re.findall("^## ", turkish, re.MULTILINE)) == len(re.findall("^## ", english, re.MULTILINE)) + 1
    )  # errors


def test_the_turkish_readme_speaks_to_one_person_as_the_page_does():
    text = (ROOT / "README.tr.md").read_text(encoding="utf-8")
    assert (
        re.findall(r"\b\w+(?:ın|in|un|ün)ız\b|\b(?:siz|sizin)\b|\b(?:kur|al|ver|kopyala|denetle)y?[ıiuü]n\b", text)
        == []
    )


def test_what_the_readmes_say_of_150_and_368_pictures_is_so():
    assert 0.0235 < drop_bound(0, 150, confidence(2)) < 0.0255  # 2.5 points
    assert drop_bound(0, 367, confidence(2)) > 0.01 >= drop_bound(0, 368, confidence(2))
    for page in PAGES[:2]:
        assert {"150", "368"} <= set(re.findall(r"\d+", (ROOT / page).read_text(encoding="utf-8")))


def test_the_two_light_commands_name_files_that_exist():
    for page in PAGES[:2]:
        named = re.search(r"try/bin/lokma run (\S+) (\S+)", (ROOT / page).read_text(encoding="utf-8"))
        assert all((ROOT / path).is_file() for path in named.groups())


def test_no_page_or_module_names_a_path_of_the_machine_it_was_written_on():
    here = [str(ROOT) + "/", str(Path.home()) + "/."]
    for path in [*ROOT.glob("*.md"), *ROOT.glob("*/**/*.py"), ROOT / "Makefile", ROOT / "pyproject.toml"]:
        if ".venv" not in path.parts and "runs" not in path.parts:
            text = path.read_text(encoding="utf-8")
            assert not any(place in text for place in here), path
