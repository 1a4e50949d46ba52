"""The released improviser: whole, small, with a card, and it plays."""

from lib.config import RELEASED, GenerateRequest
from lib.data.manifest import verify
from lib.generate import generate, load_improviser


def test_every_file_is_what_the_manifest_says_and_small():
    manifest = verify(RELEASED)
    assert set(manifest["sha256"]) == {f"{name}.safetensors" for name in ("vqvae", "style_encoder", "dit", "styles")}
    assert sum((RELEASED / name).stat().st_size for name in manifest["sha256"]) < 64 * 2**20
    card = (RELEASED / "README.md").read_text(encoding="utf-8")
    assert "MAESTRO" in card and "PiJAMA" in card and "non-commercial" in card


def test_it_plays_like_somebody():
    improviser = load_improviser(released=True, device="cpu")
    solo = generate(improviser, GenerateRequest(seconds=5.0, num_steps=12))
    assert improviser.pianist == "Brad Mehldau" and len(improviser.styles.names) == 110
    assert 5 < len(solo.notes) < 200
