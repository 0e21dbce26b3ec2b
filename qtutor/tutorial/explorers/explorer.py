"""Controls above, a picture below: the one class behind all explorers."""

import base64
from collections.abc import Callable
from typing import Any
from xml.sax.saxutils import quoteattr

import ipywidgets

from qtutor.tutorial.explorers.svg import WIDTH, Drawing, problem


class Explorer(ipywidgets.VBox):
    """Controls, and the picture that `draw` makes of their values.

    draw      pure function of the controls' values -> Drawing; its ValueError is shown in its place
    presets   None, or a control that sets other controls and is no argument of `draw`
    controls  name of an argument of `draw` -> ipywidgets control with a description

    Use sliders, toggle buttons and checkboxes, which answer the keyboard: JupyterLab takes the arrow
    keys away from a drop-down list.

    A notebook stores the live widget and, for readers without a kernel, the picture at the settings of
    that moment as image/svg+xml, the same as an <img> in text/html, and its numbers as text/plain.
    """

    def __init__(self, draw: Callable[..., Drawing], *, presets: Any = None, **controls: Any) -> None:
        self.draw = draw
        self.controls = controls
        self.picture = ipywidgets.HTML()
        shown = [presets, *controls.values()] if presets else list(controls.values())
        for control in shown:
            control.tooltip = control.description
            control.style.description_width = "120px"
            control.layout = {"flex": "1 1 100%" if _is_wide(control) else "1 1 340px", "width": "auto"}
            if isinstance(control, ipywidgets.ToggleButtons):
                control.style.button_width = "auto"
                for name in ("jupyter-widgets", "widget-inline-hbox"):  # the label beside the buttons
                    control.add_class(name)
        for control in controls.values():
            control.observe(self._redraw, "value")
        panel = ipywidgets.Box(shown, layout={"flex_flow": "row wrap", "max_width": f"{WIDTH}px"})
        super().__init__([panel, self.picture])
        self._redraw()

    def drawing(self) -> Drawing:
        """The picture of the controls' present values, or of what is wrong with them."""
        try:
            return self.draw(**{name: control.value for name, control in self.controls.items()})
        except ValueError as error:
            return problem(str(error))

    def _redraw(self, change: object = None) -> None:
        self.picture.value = self.drawing().svg

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        bundle: dict[str, Any] = super()._repr_mimebundle_(**options)
        picture = self.drawing()
        names = ", ".join(control.description for control in self.controls.values())
        bundle["text/plain"] = f"Explorer ({names}): {picture.text}"
        bundle["image/svg+xml"] = picture.svg
        # JupyterLab shows no SVG of a notebook that it doesn't trust yet, such as a fresh clone, but an <img>
        source = base64.b64encode(picture.svg.encode()).decode("ascii")
        alt = quoteattr(" ".join(picture.text.split()))
        bundle["text/html"] = f'<img alt={alt} src="data:image/svg+xml;base64,{source}">'
        return bundle


def _is_wide(control: Any) -> bool:
    """Whether a control needs the whole row: many buttons."""
    return isinstance(control, ipywidgets.ToggleButtons) and len(control.options) > 3
