"""Low-rank additions: nothing at first, then all that is learned; merged they are plain weights again."""

import torch

from lib.models.blocks import add_low_rank, merge_low_rank
from lib.models.dit import DiT


def test_added_trained_and_merged():
    torch.manual_seed(0)
    model = DiT(torch.randn(3, 8, 4), pedals=2, width=64, depth=1, heads=2, style_dim=6)
    plain = {name: value.clone() for name, value in model.state_dict().items()}
    add_low_rank(model, 2)
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert trained and all(name.endswith((".up", ".down")) and "blocks" in name for name in trained)
    weight = model.blocks[0].attention.to_qkv.weight
    assert torch.equal(weight, plain["blocks.0.attention.to_qkv.weight"])
    for name, parameter in model.named_parameters():
        if name.endswith(".up"):
            torch.nn.init.normal_(parameter)
    changed = model.blocks[0].attention.to_qkv.weight.detach() - plain["blocks.0.attention.to_qkv.weight"]
    assert torch.linalg.matrix_rank(changed) == 2
    merged = merge_low_rank(model).state_dict()
    assert merged.keys() == plain.keys()
    name = "blocks.0.attention.to_qkv.weight"
    assert torch.allclose(merged[name], plain[name] + changed)
    assert torch.equal(merged["head.pattern.weight"], plain["head.pattern.weight"])
