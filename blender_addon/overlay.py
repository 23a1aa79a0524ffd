"""The coloured overlay: vertex colours on meshes, and viewports that show them.

Whether the overlay is on is a matter of each screen, like Blender's own overlays: the shading that
a screen had before is kept on the screen itself, so that it is saved with the file and that undo,
which leaves screens alone, cannot lose it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

import bpy

from . import attributes, colormap
from .quantities import COLOR, QUANTITIES

# On a screen: the shading of its viewports before the overlay was turned on.
BEFORE_KEY = "fairfield_shading_before"
# On a screen: an undo took the last colours and with them the overlay, which a redo brings back.
UNDONE_KEY = "fairfield_overlay_undone"
# On a mesh: what its colours show, for the legend.
SHOWN_KEY = "fairfield_shown"


def is_on(screen: bpy.types.Screen | None) -> bool:
    """Whether this screen shows the overlay: turned on, and no other shading chosen since."""
    if screen is None or BEFORE_KEY not in screen:
        return False
    shadings = [space.shading for _, space in _viewports(screen)]
    return any(each.type == "SOLID" and each.color_type == "VERTEX" for each in shadings)


def color_mesh(mesh: bpy.types.Mesh, scene: bpy.types.Scene) -> bool:
    """Colour a mesh by the scene's chosen quantity; return whether it has that quantity."""
    chosen = scene.fairfield
    quantity = QUANTITIES[chosen.quantity]
    values = attributes.read(mesh, quantity.name)
    if values is None:
        return False
    if chosen.range_is_auto:
        low, high = colormap.automatic_range(
            values, quantity, mesh.get(attributes.HALF_SIZE_KEY, 0.0)
        )
    else:
        low, high = chosen.range_low, chosen.range_high
    colors = colormap.colors(values, low, high, signed=quantity.signed)
    attributes.write_colors(mesh, colors)
    mesh[SHOWN_KEY] = {"quantity": quantity.name, "low": low, "high": high}
    return True


def shown_range(context: bpy.types.Context) -> tuple[float, float] | None:
    """Return the ends of the colours of the active object, or of another one; None without any."""
    active = context.view_layer.objects.active
    for each in [active, *context.scene.objects]:
        shown = each.data.get(SHOWN_KEY) if each is not None and each.type == "MESH" else None
        if shown is not None and shown["quantity"] == context.scene.fairfield.quantity:
            return shown["low"], shown["high"]
    return None


def recolor_scene(context: bpy.types.Context) -> None:
    """Colour every mesh of the scene that was measured, by the present settings."""
    meshes = {each.data.session_uid: each.data for each in context.scene.objects if _takes(each)}
    for mesh in meshes.values():
        color_mesh(mesh, context.scene)


def turn_on(window_manager: bpy.types.WindowManager) -> None:
    """Show vertex colours in the solid viewports of every open screen."""
    for screen in _screens(window_manager):
        if not is_on(screen):
            _remember_shading(screen)
        for _, space in _viewports(screen):
            space.shading.type = "SOLID"
            space.shading.color_type = "VERTEX"
        screen.pop(UNDONE_KEY, None)


def turn_off(window_manager: bpy.types.WindowManager) -> None:
    """Give the viewports of every open screen back the shading that they had."""
    for screen in _screens(window_manager):
        if BEFORE_KEY not in screen:
            continue
        before = json.loads(screen[BEFORE_KEY])
        del screen[BEFORE_KEY]
        for index, space in _viewports(screen):
            shading, color = before.get(str(index), ["SOLID", "MATERIAL"])
            # The type of colour is that of solid shading; another shading was chosen since.
            space.shading.color_type = color
            if space.shading.type == "SOLID":
                space.shading.type = shading


def turn_off_if_nothing_is_colored(context: bpy.types.Context) -> None:
    """After an undo: do not leave viewports showing colours that are gone."""
    shown = [screen for screen in _screens(context.window_manager) if BEFORE_KEY in screen]
    if not shown or _something_is_colored():
        return
    turn_off(context.window_manager)
    for screen in shown:
        screen[UNDONE_KEY] = True


def turn_on_if_colors_came_back(context: bpy.types.Context) -> None:
    """After a redo: show the colours again that an undo had taken."""
    undone = any(UNDONE_KEY in screen for screen in _screens(context.window_manager))
    if undone and _something_is_colored():
        turn_on(context.window_manager)


def _something_is_colored() -> bool:
    return any(COLOR in mesh.attributes for mesh in bpy.data.meshes)


def _remember_shading(screen: bpy.types.Screen) -> None:
    before = json.loads(screen.get(BEFORE_KEY, "{}"))
    for index, space in _viewports(screen):
        # Where another shading was chosen since, the solid one's colours are still the overlay's.
        _, color = before.get(str(index), [None, space.shading.color_type])
        before[str(index)] = [space.shading.type, color]
    screen[BEFORE_KEY] = json.dumps(before)


def _takes(owner: bpy.types.Object) -> bool:
    """Whether an object has a mesh that takes attributes now."""
    return owner.type == "MESH" and owner.data.is_editable and not owner.data.is_editmode


def _screens(window_manager: bpy.types.WindowManager) -> Iterable[bpy.types.Screen]:
    return {window.screen.name: window.screen for window in window_manager.windows}.values()


def _viewports(screen: bpy.types.Screen) -> Iterable[tuple[int, bpy.types.SpaceView3D]]:
    for index, area in enumerate(screen.areas):
        if area.type == "VIEW_3D":
            yield index, area.spaces.active
