"""Which networks of timm and torchvision can be re-planned, and where: the table in docs/networks.md.

    python benchmarks/plans_on_zoo.py                      # all, most of an hour on two cores
    python benchmarks/plans_on_zoo.py timm:resnet18 ...    # these; what was written of the others stays

For each network, untrained, every site keeps its reduction and gets a self-attentive pool behind its block: forward and
backward that reaches every pool, weights back into a second copy, torch.export. Then average pooling at the other
placements, forward only. What a network refuses is written down as it says it.
"""

from __future__ import annotations

import json
import re
import sys
import time
import warnings
from importlib.metadata import version
from pathlib import Path

import torch
from torch import nn

import sapool
from sapool.base.records import DownsamplingSite, UnsupportedSite

ROOT = Path(__file__).parents[1]
PLACEMENTS = ("stage", "group-start", "in-place")
TIMM = """resnet18 resnext50_32x4d resnet50d seresnet18 skresnet18 res2net50_14w_8s resnest14d ecaresnet26t resnetblur50
resnetv2_50 nf_resnet50 nfnet_l0 regnetx_002 regnety_002 densenet121 vgg11_bn dla34 hrnet_w18_small dpn48b
inception_v3 inception_v4 xception41 mobilenetv2_050 mobilenetv3_small_050 mobilenetv4_conv_small
mobilenet_edgetpu_v2_xs mnasnet_small semnasnet_050 spnasnet_100 fbnetc_100 hardcorenas_a mixnet_s efficientnet_b0
tf_efficientnet_b0 efficientnet_lite0 tf_efficientnet_lite0 tinynet_e rexnet_100 ghostnet_050 ghostnetv2_100
repghostnet_050 lcnet_050 hgnet_tiny hgnetv2_b0 vovnet39a ese_vovnet19b_dw selecsls42b gernet_s repvgg_a0 mobileone_s0
repvit_m0_9 starnet_s1 darknet17 cspresnet50 cspdarknet53 convnext_atto convnextv2_atto inception_next_tiny
convmixer_768_32 edgenext_xx_small fastvit_t8 mobilevit_xxs poolformer_s12 mambaout_femto nextvit_small tresnet_m
efficientvit_b0 efficientvit_m0 bat_resnext26ts gcresnext26ts halonet26t lambda_resnet26t botnet26t_256 haloregnetz_b
seresnext26ts resnet51q resnetaa50 skresnext50_32x4d res2next50 regnetz_b16 regnetv_040 mobilenetv1_100
mobilenetv4_hybrid_medium mobilevitv2_050 ghostnetv3_050 rdnet_tiny fasternet_t0 shvit_s1 swiftformer_xs
efficientformer_l1 efficientformerv2_s0 levit_128s levit_conv_128s crossvit_tiny_240 vit_tiny_patch16_224"""
TORCHVISION = """googlenet shufflenet_v2_x0_5 squeezenet1_1 alexnet vgg11 inception_v3 mobilenet_v3_small mnasnet0_5
densenet121 regnet_x_400mf convnext_tiny efficientnet_b0 resnet18"""
NAMES = [f"timm:{n}" for n in TIMM.split()] + [f"torchvision:{n}" for n in TORCHVISION.split()]


# These take one size, or need maps that 128 px do not give.
LARGE = """inception alexnet vgg11 _224 rdnet shvit davit coat_ convit nest hiera mvitv2 cait volo visformer levit
focalnet efficientvit_m pvt_v2 twins gcvit sequencer xcit efficientformer swiftformer haloregnet"""


def size_of(name: str) -> int:
    if "_240" in name or "_256" in name:
        return int(name[-3:])
    if any(part in name for part in ("halonet", "lambda", "bat_")):
        return 256
    return 224 if any(part in name for part in LARGE.split()) else 128


def scores(out: object) -> torch.Tensor:
    first = out[0] if isinstance(out, tuple) else out
    return first if isinstance(first, torch.Tensor) else first.logits  # type: ignore[attr-defined, no-any-return]


def reaches_every_pool(model: nn.Module, size: int, strides: list[int]) -> nn.Module:
    done = sapool.apply_plan(model, sapool.make_plan(model, size, strides=strides))
    scores(done.model.train()(torch.rand(2, 3, size, size))).square().sum().backward()
    for change in done.replaced:
        for pool in change.pools:
            if not all(p.grad is not None for p in pool.parameters()):
                raise RuntimeError(f"no gradient reaches the pool at {change.site}")
    return done.model


def look_at(name: str) -> dict[str, object]:
    size = size_of(name)
    try:
        model = sapool.load_model(name, 10)
        start = time.perf_counter()
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            found = sapool.find_downsampling(model, size)
    except ValueError as refusal:
        return {"size": size, "refused": re.sub(r"/\S*/site-packages/", "", str(refusal))}
    row: dict[str, object] = {"size": size, "seconds": round(time.perf_counter() - start, 2)}
    if said:
        row["said"] = [re.sub(r"/\S*/site-packages/", "", str(w.message)) for w in said]
    strides = [site.reduction for site in found if isinstance(site, DownsamplingSite)]
    row["sites"] = strides
    row["left alone"] = [f"{s.name}: {s.reason}" for s in found if isinstance(s, UnsupportedSite)]
    works: dict[str, str] = {}
    row["placements"] = works
    if not strides:
        return row
    for placement in ("block", *PLACEMENTS):
        try:
            if placement == "block":
                planned = reaches_every_pool(model, size, strides).eval()
                planned.load_state_dict({k: v.clone() for k, v in planned.state_dict().items()})
                with torch.no_grad():
                    torch.export.export(planned, (torch.rand(2, 3, size, size),))
            else:
                plan = sapool.make_plan(model, size, "avg", strides, placement)
                sapool.apply_plan(model, plan)  # runs it once
            works[placement] = "yes"
        except Exception as error:  # whatever stops a user is what the table is about
            works[placement] = f"{type(error).__name__}: {str(error).splitlines()[0][:160]}"
    return row


def table(rows: dict[str, dict[str, object]]) -> str:
    lines = [
        "| network | px | sites | block | stage | group-start | in-place | left alone |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        if "refused" in row:
            lines.append(f"| `{name}` | {row['size']} | refused | | | | | |")
            continue
        works = row["placements"]
        assert isinstance(works, dict)
        marks = [works.get(p, "") and ("yes" if works[p] == "yes" else "no") for p in ("block", *PLACEMENTS)]
        sites, left = row["sites"], row["left alone"]
        assert isinstance(sites, list)
        assert isinstance(left, list)
        shown = ",".join(map(str, sites)) if 0 < len(sites) < 10 else f"{len(sites) or 'no'} sites"
        starred = "*" if "said" in row else ""  # part of it, or all, could not be traced
        lines.append(f"| `{name}`{starred} | {row['size']} | {shown} | {' | '.join(marks)} | {len(left) or ''} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    warnings.simplefilter("ignore")
    path = ROOT / "benchmarks" / "results" / "plans_on_zoo.json"
    chosen = sys.argv[1:] or NAMES
    rows = {} if chosen is NAMES else json.loads(path.read_text())["networks"]
    for name in chosen:
        torch.manual_seed(0)
        rows[name] = look_at(name)
        print(name, rows[name].get("placements", rows[name].get("refused")), flush=True)
        rows = {n: rows[n] for n in (*NAMES, *rows) if n in rows}
        record = {"versions": {p: version(p) for p in ("torch", "timm", "torchvision")}, "networks": rows}
        path.write_text(json.dumps(record, indent=1) + "\n")
    print(table(rows))


if __name__ == "__main__":
    main()
