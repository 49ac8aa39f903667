"""Figures show what they are given, in the right place and scale, touch no global state, and refuse what does not fit."""

import io

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from hyperion import plot
from hyperion.errors import InputError, ShapeError

SPACING = (10.0, 20.0)


@pytest.fixture
def model(random):
    """A model (30, 200): 300 m deep, 4 km wide."""
    return 1500 + 1000 * random.random((30, 200))


def drawn(figure: Figure) -> np.ndarray:
    """Return the picture as numbers (height, width, 4)."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="rgba", dpi=60)
    width, height = (round(60 * size) for size in figure.get_size_inches())
    return np.frombuffer(buffer.getvalue(), np.uint8).reshape(-1, 4)[:width * height]


def test_models_share_one_scale_with_depth_downwards(model):
    sources, receivers = np.array([[[50.0, 400.0]]]), np.stack([np.zeros(300), np.arange(300.0)], -1)[None]
    figure = plot.models({"True": model, "Start": model + 500}, SPACING, sources=sources, receivers=receivers)
    first, second, bar = figure.axes
    images = [panel.images[0] for panel in (first, second)]
    assert [image.get_clim() for image in images] == [(model.min(), model.max() + 500)] * 2
    assert np.array_equal(images[0].get_array(), model)
    assert images[0].get_extent() == pytest.approx([-0.01, 3.99, 0.295, -0.005])           # km; a node is the middle of its pixel
    assert first.yaxis_inverted() and second.get_xlabel() == "Distance (km)" and first.get_ylabel() == "Depth (km)"
    assert bar.get_ylabel() == "P-wave speed (m/s)"
    marks = {mark.get_label(): mark.get_offsets() for mark in first.collections}
    assert np.allclose(marks["sources"], [[0.4, 0.05]]) and len(marks["receivers"]) == 100
    assert not second.collections
    assert len(np.unique(drawn(figure), axis=0)) > 100


def test_small_models_are_in_metres(model):
    assert plot.models({"a": model[:, :50]}, SPACING).axes[0].get_xlabel() == "Distance (m)"


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 7])
@pytest.mark.parametrize("shape", [(30, 200), (100, 80)])
def test_any_number_of_panels(count, shape):
    figure = plot.models({str(i): np.full(shape, 1500.0) for i in range(count)}, (10.0, 10.0))
    assert len(figure.axes) == count + 1
    drawn(figure)


def test_difference_is_white_where_models_agree(model):
    other = model.copy()
    other[3, 4] += 100
    image = plot.difference(other, model, SPACING, limit=50.0).axes[0].images[0]
    assert image.get_clim() == (-50, 50)
    colours = image.to_rgba(image.get_array())
    assert np.all(colours[0, 0, :3] > 0.95) and colours[3, 4, 0] > 2 * colours[3, 4, 2]     # more is red
    assert plot.difference(model, model, SPACING).axes[0].images[0].get_clim() == (-1, 1)


def test_profiles_are_the_columns_asked_for(model):
    figure = plot.profiles({"True": model, "Start": model / 2}, SPACING, [0.0, 1000.0])
    assert [panel.get_title(loc="left") for panel in figure.axes] == ["0 km", "1 km"]
    line = figure.axes[1].lines[1]
    assert np.array_equal(line.get_xdata(), model[:, 50] / 2) and line.get_ydata()[-1] == 290
    assert figure.axes[0].get_ylim() == (290, 0)


def test_snapshots_share_a_symmetric_scale(model):
    fields = {"0.1 s": np.zeros((30, 200)), "0.2 s": np.eye(30, 200)}
    figure = plot.snapshots(fields, SPACING, background=model, sources=[[0.0, 0.0]])
    low, high = figure.axes[0].images[0].get_clim()
    assert low == -high and high > 0


def test_gathers_share_the_clip_and_show_the_residual(random):
    observed = random.standard_normal((40, 100))
    figure = plot.gathers({"Observed": observed, "Predicted": 2 * observed}, 0.01, positions=np.arange(40) * 100.0, clip=1.5)
    panels = figure.axes[:3]
    assert [panel.get_title(loc="left") for panel in panels] == ["Observed", "Predicted", "Predicted - Observed"]
    assert np.allclose(panels[2].images[0].get_array(), observed.T)
    assert all(panel.images[0].get_clim() == (-1.5, 1.5) for panel in panels)
    assert panels[0].yaxis_inverted() and panels[0].images[0].get_extent() == pytest.approx([-0.05, 3.95, 0.995, -0.005])
    assert len(plot.gathers({"a": observed}, 0.01).axes) == 2
    assert len(plot.gathers({"a": observed, "b": observed}, 0.01, residual=False).axes) == 3


def test_a_small_residual_is_magnified(random):
    observed = random.standard_normal((40, 100))
    figure = plot.gathers({"observed": observed, "predicted": 1.01 * observed}, 0.01, clip=1.5)
    first, second, residual, bar = figure.axes
    assert residual.get_title(loc="left") == "predicted - observed, x50"
    assert residual.images[0].get_clim() == (-0.03, 0.03) and first.images[0].get_clim() == second.images[0].get_clim() == (-1.5, 1.5)
    assert bar.get_ylim() == (-1.5, 1.5)                           # the scale of the data


def test_profiles_have_round_titles():
    figure = plot.profiles({"a": np.ones((9, 402))}, (12.5, 12.5), [0.2 * 5012.5, 401 * 12.5])
    assert [panel.get_title(loc="left") for panel in figure.axes] == ["1 km", "5.01 km"]
    assert plot.profiles({"a": np.ones((9, 161))}, (12.5, 12.5), [1000.4]).axes[0].get_title(loc="left") == "1 km"
    assert plot.profiles({"a": np.ones((9, 160))}, (12.5, 12.5), [1000.4]).axes[0].get_title(loc="left") == "1000 m"


def test_misfit_is_relative_to_each_stage():
    figure = plot.misfit([4.0, 2.0, 9.0, 3.0], stages={"3 Hz": 0, "6 Hz": 2}, model_errors=[0.4, 0.3, 0.2, 0.1])
    lines = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 2 and line.get_marker() == "o"]
    assert [list(line.get_ydata()) for line in lines] == [[1.0, 0.5], [1.0, 3 / 9]]
    assert {text.get_text() for text in figure.axes[0].texts} == {"3 Hz", "6 Hz"}
    assert list(figure.axes[1].lines[-1].get_ydata()) == [0.4, 0.3, 0.2, 0.1]
    drawn(figure)
    drawn(plot.misfit([0.0]))


def test_no_global_state_is_touched(model):
    with matplotlib.rc_context({"font.size": 5.0}):
        before = dict(matplotlib.rcParams)
        figure = plot.models({"a": model}, SPACING)
        assert dict(matplotlib.rcParams) == before and figure.axes[0].xaxis.label.get_size() == 9.0


@pytest.mark.parametrize("draw, error, words", [
    (lambda m: plot.models({}, SPACING), InputError, "no array given"),
    (lambda m: plot.models({"a": m[0]}, SPACING), ShapeError, r"'a' has shape \(200,\)"),
    (lambda m: plot.models({"a": np.stack([m, m])}, SPACING), ShapeError, "give a slice"),
    (lambda m: plot.models({"a": m, "b": m[1:]}, SPACING), ShapeError, "different shapes"),
    (lambda m: plot.difference(m, m[:, 1:], SPACING), ShapeError, "different shapes"),
    (lambda m: plot.profiles({"a": m}, SPACING, [4000.0]), InputError, "4000 m lies outside"),
    (lambda m: plot.profiles({"a": m}, SPACING, []), InputError, "none given"),
    (lambda m: plot.snapshots({"a": m}, SPACING, background=m.T), ShapeError, "background"),
    (lambda m: plot.gathers({"a": m}, 0.0), InputError, "step=0.0"),
    (lambda m: plot.gathers({"a": m}, 1.0, positions=[1.0]), ShapeError, "1 for gathers of 30"),
    (lambda m: plot.misfit([]), ShapeError, "misfits"),
    (lambda m: plot.misfit([1.0], stages={"x": 1}), InputError, "'x' begins at iteration 1"),
    (lambda m: plot.misfit([1.0], model_errors=[1.0, 2.0]), ShapeError, "2 values"),
])
def test_refusals(model, draw, error, words):
    with pytest.raises(error, match=words):
        draw(model)


def test_fields_stand_in_rows_and_columns_under_one_scale():
    wave = np.outer(np.sin(np.arange(8.0)), np.ones(6))
    figure = plot.fields({"solver": [wave, 2.0 * wave], "network": [None, wave]}, ["1 s", "2 s"], notes={"network": ["", "error 0.1"]})
    titles = [axes.get_title() for axes in figure.axes[:4]]
    shown = [axes.images[0].get_clim() for axes in figure.axes[:4] if axes.images]
    assert titles == ["1 s", "2 s", "", "error 0.1"] and len(shown) == 3 and len(set(shown)) == 1 and shown[0][0] == -shown[0][1]
    assert not figure.axes[2].images and figure.axes[2].texts[0].get_text() == "network"
    assert len(figure.axes) == 5                                                         # one bar


@pytest.mark.parametrize("limits, clims, bars", [
    ([1.0, 0.5], [(-1.0, 1.0), (-0.5, 0.5)] * 2, 2),
    (np.array([1.0, 0.5]), [(-1.0, 1.0), (-0.5, 0.5)] * 2, 2),
    ({"a": 1.0, "b": 0.5}, [(-1.0, 1.0)] * 2 + [(-0.5, 0.5)] * 2, 2),
    (np.float32(2.0), [(-2.0, 2.0)] * 4, 1),
])
def test_fields_have_a_bar_for_each_scale(limits, clims, bars):
    figure = plot.fields({"a": [np.eye(4)] * 2, "b": [np.eye(4)] * 2}, ["1", "2"], limits=limits, label="p (Pa)")
    assert [axes.images[0].get_clim() for axes in figure.axes[:4]] == clims and len(figure.axes) == 4 + bars
    assert all("p (Pa)" in (axes.get_xlabel(), axes.get_ylabel()) for axes in figure.axes[4:])


@pytest.mark.parametrize("upwards, bottom_and_top", [(False, (75.0, -5.0)), (True, (-5.0, 75.0))])
def test_fields_have_axes_in_metres(upwards, bottom_and_top):
    figure = plot.fields({"a": [np.ones((8, 6))] * 2, "b": [np.ones((8, 6)), None]}, ["1", "2"], spacing=(10.0, 20.0), upwards=upwards)
    assert figure.axes[0].images[0].get_extent() == [-10.0, 110.0, *bottom_and_top]
    assert [axes.get_xlabel() for axes in figure.axes[:3]] == ["", "Distance (m)", "Distance (m)"]      # below the last field of a column
    assert [axes.get_ylabel() for axes in figure.axes[:3]] == ["a\nDepth (m)", "", "b\nDepth (m)"]


@pytest.mark.parametrize("call, error, message", [
    (lambda: plot.fields({}, ["a"]), InputError, "at least one of each"),
    (lambda: plot.fields({"a": [np.ones((3, 3))]}, ["1", "2"]), ShapeError, "row 'a' has another length"),
    (lambda: plot.fields({"a": [np.ones(3)]}, ["1"]), ShapeError, "'a'"),
    (lambda: plot.fields({"a": [np.ones((3, 3))]}, ["1"], limits=[1.0, 2.0]), ShapeError, "one for each of the 1 columns"),
    (lambda: plot.fields({"a": [np.ones((3, 3))]}, ["1"], notes={"a": []}), ShapeError, "row 'a' has another length"),
    (lambda: plot.fields({"a": [np.ones((3, 3))]}, ["1"], notes={"a": "x"}), ShapeError, "row 'a' has another length"),
    (lambda: plot.fields({"a": [np.ones((3, 3))]}, ["1"], notes={"b": ["x"]}), InputError, "the rows are"),
    (lambda: plot.fields({"a": [np.ones((3, 3))]}, ["1"], limits=-1.0), InputError, "above 0"),
    (lambda: plot.fields({"a": [np.ones((3, 3))]}, ["1"], limits=[np.nan]), InputError, "nan is no largest magnitude"),
    (lambda: plot.fields({"a": [np.ones((3, 3))]}, ["1"], limits="1"), InputError, "'1' is no largest magnitude"),
    (lambda: plot.fields({"a": [np.ones((3, 3))]}, ["1"], limits={"b": 1.0}), InputError, "one for each of the rows"),
    (lambda: plot.fields({"a": [np.ones((3, 3))]}, ["1"], spacing=(1.0, 0.0)), InputError, "along both axes"),
    (lambda: plot.fields({"a": [np.ones((3, 3))]}, ["1"], spacing=5.0), InputError, "along both axes"),
    (lambda: plot.curves(), InputError, "at least one Panel"),
    (lambda: plot.curves(plot.Panel({}, ("x", "y"))), InputError, "at least one curve"),
    (lambda: plot.curves(plot.Panel({"a": [1.0]}, ("x", "y")), widths=[1.0, 2.0]), InputError, "as many widths"),
    (lambda: plot.curves(plot.Panel({"a": [1.0, 2.0]}, ("x", "y"), x=[1.0])), ShapeError, "curve 'a' has shape"),
    (lambda: plot.curves(plot.Panel({"a": []}, ("x", "y"))), ShapeError, "none empty"),
    (lambda: plot.curves(plot.Panel({"a": [1.0]}, ("x", "y"), points=("b",))), InputError, r"name \['b'\]"),
    (lambda: plot.curves(plot.Panel({"a": [1.0]}, ("x", "y"), notes={"a": ["1", "2"]})), ShapeError, "2 for the 1 points"),
])
def test_fields_and_curves_that_cannot_be(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_curves_of_several_seeds_share_a_colour_and_a_legend():
    error = plot.Panel({"solver": [0.1, 0.2, np.inf], "network": [[0.3, 0.2, 0.1], [0.2, 0.1, 0.1]], "48 x 48": [0.1, 0.1, 0.1]},
                       ("step", "error"), log_y=True, limits=(None, 2.0), marks={"trained": 2.0})
    cost = plot.Panel({"network": ([3.0, 3.0], [0.2, 0.1]), "solver": ([1.0, 2.0], [0.2, 0.1])}, ("ms", "error"), log_x=True,
                      points=("network",), dotted=("solver",), notes={"solver": ["32", "64"]})
    figure = plot.curves(error, cost, colours={"solver": "#111111", "network": "#222222"})
    left, right = figure.axes
    assert [line.get_color() for line in left.lines[:4]] == ["#111111", "#222222", "#222222", "#b8b8b8"]
    assert np.isnan(left.lines[0].get_ydata()[-1]) and left.get_ylim()[1] == 2.0 and left.get_yscale() == "log"
    assert [text.get_text().strip() for text in left.texts] == ["48 x 48", "trained"]
    assert right.lines[0].get_linestyle() == "None" and right.lines[0].get_marker() == "D" and right.get_xlabel() == "ms"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["solver", "network"]
    assert len(plot.curves(error, cost, error, cost).axes) == 4


def test_training_says_what_was_looked_at_when():
    rows = [{"step": n, "loss": 1.0 / n, **({"test": 2.0 / n} if n % 5 == 0 else {"test": None})} for n in range(1, 11)]
    panel = plot.training(rows, {"batch": "loss", "unseen": "test"}, "relative L2 error")
    assert panel.dotted == ("unseen",) and panel.labels == ("step", "relative L2 error") and panel.log_y
    assert panel.curves["unseen"] == ([5, 10], [0.4, 0.2]) and len(panel.curves["batch"][0]) == 10
    assert len(plot.curves(panel).axes[0].lines) == 2


def test_answers_are_the_median_and_the_worst(random):
    u, errors = random.random((5, 6, 8)), np.array([0.5, 0.1, 0.3, 0.2, 0.4])
    figure = plot.answers(u, 2.0 * u, 3.0 * u, errors, ("permeability", "pressure"), ("exact", "network"))
    panels = figure.axes[:8]
    assert [panel.get_title() for panel in panels[4:]] == ["permeability", "pressure, exact", "pressure, network",
                                                           "network - exact, error 0.5000"]
    assert np.array_equal(panels[0].images[0].get_array(), u[2]) and np.array_equal(panels[6].images[0].get_array(), 3.0 * u[0])
    assert panels[1].images[0].get_clim() == panels[2].images[0].get_clim() == (0.0, 2.0 * u[2].max())
    assert panels[3].images[0].get_clim() == pytest.approx((-u[2].max(), u[2].max()))
    with pytest.raises(ShapeError, match=r"give \(examples, n, m\) three times"):
        plot.answers(u, u, u[:4], errors, ("a", "b"))


def test_solutions_over_time_show_field_moments_and_points(random):
    x, t, found = np.linspace(-1.0, 1.0, 5), np.linspace(0.0, 2.0, 9), random.random((5, 9))
    places = [np.array([[0.5, 1.0]]), np.array([[1.0, 0.0], [-1.0, 2.0]])]
    figure = plot.solution(x, t, found, 0.5 * found, (0.0, 0.26, 2.0), places=places, symbol="h", signed=False, limits=(0.0, 2.0))
    field, *moments = [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]
    assert field.images[0].get_extent() == [0.0, 2.0, -1.0, 1.0] and [len(marks.get_offsets()) for marks in field.collections] == [1, 2]
    assert field.collections[0].get_offsets()[0].tolist() == [1.0, 0.5] and field.get_title(loc="left") == "h(x, t) of the network"
    assert [panel.get_title(loc="left") for panel in moments] == ["t = 0.00", "t = 0.25", "t = 2.00"]
    assert np.array_equal(moments[1].lines[0].get_ydata(), 0.5 * found[:, 1])
    assert np.array_equal(moments[1].lines[1].get_ydata(), found[:, 1])
    history = [[1, 2.0, np.nan, 0.1], [2, 1.0, 0.5, 0.1], [3, 0.5, 0.25, 0.1]]
    left, right = plot.solution_errors(x, t, found, 0.5 * found, history, {"a paper": 1e-3}).axes[:2]
    np.testing.assert_allclose(left.images[0].get_array(), np.log10(0.5 * found + 1e-12))
    assert right.lines[1].get_xdata().tolist() == [2.0, 3.0] and right.get_legend().get_texts()[2].get_text() == "a paper: 0.001"
    with pytest.raises(InputError, match="give three times"):
        plot.solution(x, t, found, found, (0.0,))
    for wrong in ((x, t, found, found.T), (x[:4], t, found, found)):
        with pytest.raises(ShapeError, match=r"both must be \(x, t\)"):
            plot.solution(*wrong, (0.0, 1.0, 2.0))
