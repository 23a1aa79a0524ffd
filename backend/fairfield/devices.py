"""Which device the networks run on."""

from __future__ import annotations

import torch

from .errors import SettingError

DEVICES = ("auto", "cuda", "mps", "cpu")


def available_devices() -> list[str]:
    """The devices of this machine, the one that "auto" takes first.

    On Apple silicon that is the CPU, whose fused kernels need no GPU.
    """
    devices = ["cpu"]
    if torch.cuda.is_available():
        devices.insert(0, "cuda")
    if torch.backends.mps.is_available():
        devices.append("mps")
    return devices


def choose_device(name: str) -> torch.device:
    """Turn a device option into a torch device.

    Raises
    ------
    SettingError
        If there is no such device.
    """
    if name not in DEVICES:
        raise SettingError(f"There is no device {name!r}; choose from {', '.join(DEVICES)}.")
    available = available_devices()
    if name == "auto":
        return torch.device(available[0])
    if name not in available:
        raise SettingError(
            f"The device {name!r} is not available on this machine; choose from "
            f"{', '.join(['auto', *available])}."
        )
    return torch.device(name)
