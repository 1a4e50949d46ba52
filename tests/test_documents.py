"""The documents: every link leads somewhere, English and Korean say the same, figures are those of the cards."""

import json
import re
import subprocess
import sys
from urllib.parse import unquote, urlsplit

import pytest
from documents import DOCUMENTS, ROOT, anchors_of, blocks_of, commands_of, links_of, prose_of, text_of

from lib import config

sys.path.insert(0, str(ROOT / "tests" / "benchmarks"))

import released_steps  # noqa: E402

BENCHMARKS = ROOT / "tests" / "benchmarks"
GUIDES = ("TRAINING_GUIDE.md", "TRAINING_GUIDE.ko.md")

# --- Links -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(path):
    """A file, and a heading in it; outside the project only the form is checked."""
    for address in links_of(path):
        split = urlsplit(address)
        if split.scheme:
            here = split.hostname in ("127.0.0.1", "localhost", "studio.example")
            assert split.scheme == "https" and "." in split.hostname or here, address
            continue
        target = (path.parent / unquote(split.path)).resolve() if split.path else path
        assert target.is_relative_to(ROOT), address
        assert target.exists(), address
        if split.fragment and target.suffix == ".md":
            assert unquote(split.fragment) in anchors_of(target), address


def test_every_document_is_reached_from_the_readme():
    seen, to_read = set(), [ROOT / "README.md"]
    while to_read:
        path = to_read.pop()
        if path in seen or path.suffix != ".md" or not path.exists():
            continue
        seen.add(path)
        to_read += [(path.parent / urlsplit(address).path).resolve() for address in links_of(path) if not urlsplit(address).scheme]
    assert not set(DOCUMENTS) - seen


def test_links_and_anchors_are_read_as_github_does(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# One, two: `three`\n## 한국어 제목\n## Same\n## Same\n"
                    "[a](b.md#c) [![x](p.png)](https://x.example/y) `[no](no.md)` <img src=\"q.png\">\n"
                    "```bash\n[no](either.md)\n```\n")  # fmt: skip
    assert anchors_of(page) == {"one-two-three", "한국어-제목", "same", "same-1"}
    assert set(links_of(page)) == {"b.md#c", "p.png", "q.png", "https://x.example/y"}


# --- What belongs together -------------------------------------------------------------------------------------

TWINS = {"README.md": "docs/README.ko.md", "docs/TRAINING_GUIDE.md": "docs/TRAINING_GUIDE.ko.md",
         "docs/TIME.md": "docs/TIME.ko.md"}  # fmt: skip


@pytest.mark.parametrize("english", TWINS)
def test_korean_and_english_have_the_same_commands_and_parts(english):
    one, other = ROOT / english, ROOT / TWINS[english]
    typed = [[command.words for command in commands_of(path)] for path in (one, other)]
    assert typed[0] == typed[1]
    parts = [len(re.findall(r"^## ", text_of(path), re.MULTILINE)) for path in (one, other)]
    assert parts[0] == parts[1]
    for path, twin in ((one, other), (other, one)):
        assert any((path.parent / link).resolve() == twin for link in links_of(path))
    hangul = len(re.findall(r"[가-힣]", prose_of(other)))
    assert hangul > 0.3 * len(re.findall(r"\w", prose_of(other)))


@pytest.mark.parametrize("name", ["README.md", "docs/README.ko.md"])
def test_the_readme_begins_with_a_title_a_sentence_a_picture_and_the_two_commands(name):
    path = ROOT / name
    assert blocks_of(path, "bash")[:2] == ["bash colab_setup.sh demo\n", "bash colab_setup.sh test\n"]
    title, _, sentence, picture, hear = text_of(path).split("\n\n")[:5]
    assert title == "# Brad Mehldau AI" and len(sentence) < 160
    assert re.fullmatch(r"!\[.+\]\((docs/)?pictures/solo\.png\)", picture)
    assert "colab-badge.svg" in hear and "notebooks/06_listen.ipynb" in hear


def test_the_readme_rounds_its_times_and_counts_no_tests():
    assert not re.findall(r"\d\.\d+ s\b|\d+ (?:passed|tests|files|lines)\b", text_of(ROOT / "README.md"))


def test_versions_and_names_agree():
    project = re.search(r'^version = "(.+)"', text_of(ROOT / "pyproject.toml"), re.MULTILINE).group(1)
    citation = text_of(ROOT / "CITATION.cff")
    assert re.search(rf"^version: {re.escape(project)}$", citation, re.MULTILINE)
    assert re.search(r"^## \[?([\d.]+)", text_of(ROOT / "CHANGELOG.md"), re.MULTILINE).group(1) == project
    assert f"repository-code: {config.REPOSITORY}" in citation
    licence = text_of(ROOT / "LICENSE")
    assert licence.startswith("MIT License") and "The Brad Mehldau AI authors" in licence


def test_which_commits_go_with_saved_notebooks_and_with_runs_in_seconds_is_said():
    for name in ("CHANGELOG.md", "docs/FAQ.md"):
        assert config.LAST_COMMIT_OF_OLD_LAYOUT in text_of(ROOT / name)
        assert config.LAST_COMMIT_IN_SECONDS in text_of(ROOT / name)


def test_results_say_what_the_cards_say():
    """A figure of three decimals in the results stands in a card, where the command that gave it is named."""
    cards = " ".join(text_of(path) for path in ROOT.glob("data/released/*.md"))
    figures = set(re.findall(r"\b\d\.\d{3,}\b", text_of(ROOT / "docs" / "RESULTS.md")))
    assert len(figures) > 20 and not {figure for figure in figures if figure not in cards}


def test_pictures_are_small():
    for path in (ROOT / "docs" / "pictures").glob("*"):
        assert path.stat().st_size < 200_000, path


def test_documents_name_no_place_of_a_machine():
    for path in DOCUMENTS:
        assert not re.findall(r"/(?:home|Users|root|work|tmp)/(?!YOU)\w+", text_of(path)), path


# --- What it cost ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("guide", GUIDES)
def test_the_table_of_costs_adds_up(guide):
    lines = re.findall(r"^\|.*\| (?:2 CPU cores|CPU 코어 2개) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$",
                       text_of(ROOT / "docs" / guide), re.MULTILINE)  # fmt: skip
    rows = [[float(cell) for cell in line] for line in lines]
    assert len(rows) == len(released_steps.WEIGHTS)
    for hours, _, dollars in rows:
        assert dollars == pytest.approx(0.0816 * hours, abs=0.006)
    hours, pflop, dollars = map(sum, zip(*rows))
    totals = re.search(r"^\| \*\*.*?\| \| \| \| \*\*([\d.]+)\*\* \| \*\*([\d.]+)\*\* \| \*\*([\d.]+)\*\* \|$",
                       text_of(ROOT / "docs" / guide), re.MULTILINE)  # fmt: skip
    assert [float(total) for total in totals.groups()] == pytest.approx([hours, pflop, dollars], abs=0.06)


def test_steps_are_those_of_the_weights():
    manifest = json.loads(text_of(config.RELEASED / "manifest.json"))["configs"]
    for name, of_manifest in (("vqvae", "vqvae"), ("style_encoder", "style_encoder"), ("fine_tune", "dit")):
        assert released_steps.WEIGHTS[name][2] == manifest[of_manifest]["steps"]
    for guide in GUIDES:
        found = re.findall(r"\| ([\d,]+) \| (?:2 CPU cores|CPU 코어 2개) \|", text_of(ROOT / "docs" / guide))
        assert [int(steps.replace(",", "")) for steps in found] == [steps for _, _, steps in released_steps.WEIGHTS.values()]


def run(script, *words):
    """The figures that a benchmark prints last."""
    done = subprocess.run([sys.executable, BENCHMARKS / script, *map(str, words)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_what_a_step_is_made_of():
    (row,) = run("released_steps.py", "--weights", "vqvae", "--steps", 4, "--device", "cpu")["rows"]
    assert 0 < row["data_share"] < 0.3 and row["bf16_speedup"] > 0.5
    assert row["pflop"] == pytest.approx(0.10, abs=0.005)  # as the table says; rows of a batch are always as many


@pytest.mark.slow
def test_pictures_are_made_by_the_script(tmp_path):
    sizes = run("pictures.py", "--only", "solo", "--out", tmp_path)["bytes"]
    assert 5_000 < sizes["solo"] < 200_000 and (tmp_path / "solo.png").read_bytes()[:4] == b"\x89PNG"
