"""The operators, one a module. Each does what its button says and nothing that another one does."""

from __future__ import annotations

from . import (
    apply_normals,
    apply_results,
    cancel,
    copy_with_modifiers,
    drop_results,
    export,
    extract,
    fit,
    install_backend,
    overlay,
    refine,
    remove_backend,
    smooth,
)

CLASSES = (
    fit.FitOperator,
    refine.RefineOperator,
    smooth.SmoothOperator,
    extract.ExtractOperator,
    cancel.CancelOperator,
    drop_results.DropResultsOperator,
    overlay.OverlayOperator,
    apply_normals.ApplyNormalsOperator,
    copy_with_modifiers.CopyWithModifiersOperator,
    export.ExportOperator,
    install_backend.InstallBackendOperator,
    remove_backend.RemoveBackendOperator,
    apply_results.ApplySmoothOperator,
    apply_results.ApplyExtractOperator,
)
