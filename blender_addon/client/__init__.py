"""The add-on's side of the backend process. Nothing in this package knows Blender."""
