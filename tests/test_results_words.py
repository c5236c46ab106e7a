"""What a run says of itself on the console."""

from Experiments import results


def report(layers):
    units = {f"layer{k}": {"dead": k, "units": 100, "no_way_in": k, "no_way_out": 0} for k in range(layers)}
    return {"tensors": [], "units": units, "classes": {"alive": [0, 1], "total": 2}, "accuracy_cap": 100.0}


def test_layers_with_dead_units_are_listed_and_what_is_too_long_is_summed():
    shown = results.dead_lines(report(61), ["a", "b"]).splitlines()
    assert shown[0] == "Dead: 1 of 100 units of layer1 (1 with no way in, 0 with no way out)"  # none of layer0
    assert len(shown) == results.LAYERS + 1 and shown[-2].startswith("Dead: 20 of 100 units of layer20 ")
    assert shown[-1] == f"Dead: {sum(range(21, 61))} of 4000 units of 40 further layers, which result.json lists"
    assert len(results.dead_lines(report(21), ["a", "b"]).splitlines()) == 20
    assert results.dead_lines(report(1), ["a", "b"]) == "Dead: nothing\n"


def test_what_was_not_searched_is_not_said_to_be_alive():
    without = {"not_searched": "it is raining", "classes": {"total": 2}}
    assert results.dead_lines(without, ["a", "b"]) == "Dead: not searched for, as it is raining\n"
    shown = results.dead_lines({**report(1), "unsearched": ["fc", "out"]}, ["a", "b"])
    assert (
        shown
        == "Dead: nothing in other layers\nDead: units not searched for in layers that are never called: fc, out\n"
    )
    assert "nothing" not in results.dead_lines({**report(2), "unsearched": ["fc"]}, ["a", "b"])
