"""Voice activity by a Silero network with the inputs ``input``, ``h`` and ``c`` (the form that faster-whisper has)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lake.errors import ModelError
from lake.models.describe import DESCRIPTION, read_description
from lake.models.engines.session import input_names, session

if TYPE_CHECKING:
    from numpy.typing import NDArray

INPUTS = {"input", "h", "c"}
STATE = (1, 1, 128)


class Silero:
    """Probabilities of speech, window by window; the state goes in and comes out, so that a stream can be cut."""

    def __init__(self, folder: Path, device: str) -> None:
        if (folder / DESCRIPTION).exists():
            path = folder / read_description(folder).onnx
        else:
            path = next(folder.glob("silero_vad*.onnx"))
        self._session = session(path, device)
        if set(input_names(self._session)) != INPUTS:
            names = ", ".join(input_names(self._session))
            raise ModelError(f"{path.name} has the inputs {names}, and not input, h, c: no Silero that is known here")

    def initial(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The state before the first window."""
        return np.zeros(STATE, np.float32), np.zeros(STATE, np.float32)

    def probabilities(
        self, windows: NDArray[np.float32], state: tuple[NDArray[np.float32], NDArray[np.float32]]
    ) -> tuple[list[float], tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Of windows of shape (n, 64 + 512) at 16 kHz, each after the end of the one before; and the state after."""
        output, h, c = self._session.run(None, {"input": windows, "h": state[0], "c": state[1]})
        return [float(value) for value in np.asarray(output).reshape(-1)], (h, c)
