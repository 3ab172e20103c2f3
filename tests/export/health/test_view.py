from __future__ import annotations

from sapool.export.health.view import module_path


def test_the_converters_names_lead_to_modules() -> None:
    chain = "a.b.Wrapper/tests.Net_wrapped/torch.nn.Sequential_stem/torch.nn.Conv2d_0;;more;1"
    assert module_path(chain) == "stem.0"
    assert module_path("a.Wrapper/tests.Net_wrapped/timm._DenseLayer_denselayer1;2") == "denselayer1"
    assert module_path("Conv2d_0;2") == ""
    assert module_path("arith.constant3") == ""
