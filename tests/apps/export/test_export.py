"""Exported weights: the hub's layout, a card that the hub's own client reads, and they play and train as the run did."""

import json
import shutil

import pytest
import torch
import yaml
from safetensors.torch import load_file
from typer.testing import CliRunner

from lib.apps.cli.main import app
from lib.apps.export.export import card, export, licence_of
from lib.checkpoints.checkpoint import CheckpointError
from lib.checkpoints.load import load_vqvae
from lib.checkpoints.run_dependencies import require, weights_sha256
from lib.config import RELEASED, ConfigError, preset
from lib.generation.generate import generate, load_improviser
from lib.generation.request import GenerateRequest
from lib.storage.manifest import DamageError, verify
from lib.style.gallery import load_classifier, make_gallery
from lib.style.identification import identify
from lib.training.loop import train


def same_weights(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def front(folder):
    return yaml.safe_load((folder / "README.md").read_text(encoding="utf-8").split("---\n")[1])


@pytest.fixture(scope="module")
def exported(tiny_runs, tmp_path_factory):
    """The fine_tune run, exported by the command, its base model too."""
    folder = tmp_path_factory.mktemp("exported") / "ours"
    words = ["export", str(tiny_runs / "fine_tune"), "--to", str(folder), "--base"]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0 and "fine_tune.safetensors" in done.output and "hf upload" in done.output
    return folder


def test_it_plays_what_the_run_plays_wherever_it_lies(exported, tiny_runs, tmp_path):
    moved = shutil.copytree(exported, tmp_path / "elsewhere")  # no run beside it
    request = GenerateRequest(seconds=3.0, num_steps=3)
    there, here = load_improviser(tiny_runs / "fine_tune", device="cpu"), load_improviser(moved, device="cpu")
    assert generate(there, request).notes.onset_s.tolist() == generate(here, request).notes.onset_s.tolist()
    base = load_improviser(moved, device="cpu", base=True)
    assert same_weights(base.dit, load_improviser(tiny_runs / "diffusion", device="cpu").dit) and base.pianist is None


def test_the_layout_is_the_hubs(exported):
    files = {path.name for path in exported.iterdir()}
    assert files == {"README.md", "config.json", "manifest.json", *(f"{name}.safetensors" for name in (
        "vqvae", "style_encoder", "styles", "changes", "diffusion", "fine_tune"))}  # fmt: skip
    config = json.loads((exported / "config.json").read_text(encoding="utf-8"))
    assert config["model_type"] == "brad-mehldau-ai" and config["configs"]["dit"]["width"] == 64
    assert verify(exported)["kind"] == "improviser"


def test_the_card_is_one_that_the_hub_reads(exported):
    client = pytest.importorskip("huggingface_hub")
    card = client.ModelCard.load(exported / "README.md")
    assert card.data.license == "other" and card.data.datasets == ["demo"] and "cora-canonby" in card.data.tags
    (loss, *_) = card.data.eval_results
    assert loss.metric_type == "loss" and loss.metric_value > 0 and card.data.metrics[0] == "loss"
    assert "# ours" in card.text and "| loss, validation |" in card.text and "| plays like | Cora Canonby |" in card.text


def test_a_stage_alone_can_be_built_on(tiny_runs, demo_data, tmp_path):
    given = {f"{stage}_run": export(tiny_runs / stage, tmp_path / f"my-{stage}") for stage in ("vqvae", "style_encoder")}
    assert front(given["vqvae_run"])["tags"][-1] == "vqvae"
    assert same_weights(load_vqvae(given["vqvae_run"])[0], load_vqvae(tiny_runs / "vqvae")[0])
    for stage, folder in zip(("vqvae", "style_encoder"), given.values()):  # the same bytes: who was trained on them finds them
        assert weights_sha256({stage: folder}) == weights_sha256({stage: tiny_runs / stage})
    assert train(preset("diffusion", "tiny", steps=1), demo_data, tmp_path / "runs", **given).finished
    with pytest.raises(CheckpointError, match="holds no improviser, but 'vqvae'"):
        load_improviser(given["vqvae_run"])
    with pytest.raises(CheckpointError, match="holds no weights of 'diffusion'"):
        require(given["vqvae_run"], "diffusion")


def test_an_ear_takes_its_library_along(tiny_runs, demo_data, tmp_path):
    run = shutil.copytree(tiny_runs / "style_encoder", tmp_path / "style_encoder")
    make_gallery(run, demo_data)
    ear, library = load_classifier(export(run, tmp_path / "ear"))
    from lib.data.corpora import open_corpus

    assert len(library.pianists) > 5 and identify(ear, library, open_corpus("demo", demo_data).piece_notes(0)).pianists


def test_half_precision_and_again_into_the_same_folder(exported, tiny_runs, tmp_path):
    folder = export(exported, tmp_path / "half", half=True)
    assert load_file(folder / "vqvae.safetensors").popitem()[1].dtype == torch.float16
    assert load_file(folder / "changes.safetensors")["rows"].dtype == load_file(exported / "changes.safetensors")["rows"].dtype
    assert load_improviser(folder, device="cpu").pianist == "Cora Canonby"
    export(tiny_runs / "vqvae", folder)
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "manifest.json", "model.safetensors"]


def test_the_released_weights_are_for_non_commercial_use(tmp_path):
    folder = export(RELEASED, tmp_path / "released")
    assert front(folder)["license"] == "cc-by-nc-sa-4.0" and front(folder)["datasets"] == ["maestro", "pijama"]
    assert (folder / "library" / "library.safetensors").is_file()
    assert same_weights(load_improviser(folder, device="cpu").dit, load_improviser(released=True, device="cpu").dit)
    (folder / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(DamageError, match="config.json"):
        load_improviser(folder)


def test_figures_of_the_finished_folder_are_those_of_the_run(tiny_runs, tmp_path):
    known = front(export(tiny_runs / "brad_final", tmp_path / "final"))["metrics"]
    assert known[:1] == ["loss"] and known == front(export(tiny_runs / "fine_tune", tmp_path / "run"))["metrics"]


def test_nothing_else_is_overwritten(tiny_runs, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="no export"):
        export(tiny_runs / "vqvae", tmp_path)
    with pytest.raises(ConfigError, match="the run itself"):
        export(tiny_runs / "vqvae", tiny_runs / "vqvae")
    with pytest.raises(CheckpointError, match="no run folder"):
        export(tmp_path / "none", tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("corpora", "licence"),
    [(["maestro", "pijama"], "cc-by-nc-sa-4.0"), (["pijama"], "cc-by-nc-4.0"), (["demo"], "other"), (["mine", "pijama"], "other")],
)
def test_the_strictest_licence_holds(corpora, licence):
    assert licence_of(corpora)["license"] == licence
    assert f"license: {licence}\n" in card("Ours", "vqvae", corpora, {}, {})
