"""One side in a process of its own: load the model, score the rows, print what it took as JSON.

`side.py prepare|measure SIDE MODEL ROWS SCORES FOLDER`. It runs in the environment of its side, which may
have none of our modules, nor a numba or an llvmlite that fits ours: so it imports numpy, and each side's
library where it is wanted. `prepare` compiles or converts into FOLDER, once, and is timed; `measure` loads
what lies there. One thread, raw scores. Each library gets the rows in the form that it wants, made before the
clock starts.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

CALLS: Final = 30
WARM_CALLS: Final = 3
Predict = Callable[[Any], Any]


class Ours:
    """`Forest.predict`: a float32 matrix in, binning included."""

    def __init__(self, model: Path, folder: Path) -> None:
        self._model = model

    def prepare(self) -> None:
        """Nothing to be made: a process that ran before has left numba's compiled kernels in their cache."""

    def library(self) -> None:
        import services.scorpion.forest  # noqa: F401

    def load(self) -> Predict:
        from services.scorpion.forest import Forest

        return Forest(self._model.read_text()).predict

    def form(self, rows: Any) -> Any:
        return rows


class LightGBM(Ours):
    def library(self) -> None:
        import lightgbm  # noqa: F401

    def load(self) -> Predict:
        import lightgbm

        booster = lightgbm.Booster(model_file=str(self._model))
        return lambda rows: booster.predict(rows, raw_score=True, num_threads=1)


class Lleaves(Ours):
    """The trees as LLVM IR, compiled to machine code."""

    def __init__(self, model: Path, folder: Path) -> None:
        super().__init__(model, folder)
        self._object = folder / "trees.o"

    def prepare(self) -> None:
        self._compiled()

    def library(self) -> None:
        import lleaves  # type: ignore[import-not-found]  # noqa: F401

    def load(self) -> Predict:
        compiled = self._compiled()
        return lambda rows: compiled.predict(rows, n_jobs=1)

    def form(self, rows: Any) -> Any:
        return rows.astype(np.float64)

    def _compiled(self) -> Any:
        import lleaves

        model = lleaves.Model(str(self._model))
        model.compile(cache=str(self._object), raw_score=True)
        return model


class Tl2cgen(Ours):
    """The trees as C, by treelite and tl2cgen, compiled by gcc for this processor."""

    def __init__(self, model: Path, folder: Path) -> None:
        super().__init__(model, folder)
        self._library = folder / "trees.so"

    def prepare(self) -> None:
        import tl2cgen  # type: ignore[import-not-found]
        import treelite  # type: ignore[import-not-found]

        model = treelite.frontend.load_lightgbm_model(str(self._model))
        # Quantized, as it predicts twice as fast; in 32 files, as gcc takes several times as long for one.
        tl2cgen.export_lib(
            model,
            toolchain="gcc",
            libpath=str(self._library),
            params={"parallel_comp": 32, "quantize": 1},
            options=["-O3", "-march=native"],
        )

    def library(self) -> None:
        import tl2cgen  # noqa: F401

    def load(self) -> Predict:
        import tl2cgen

        predictor = tl2cgen.Predictor(str(self._library), nthread=1)
        return lambda rows: predictor.predict(rows, pred_margin=True)

    def form(self, rows: Any) -> Any:
        import tl2cgen

        return tl2cgen.DMatrix(rows, dtype="float32")


class OnnxRuntime(Ours):
    """The trees as one ONNX operator, converted by onnxmltools."""

    def __init__(self, model: Path, folder: Path) -> None:
        super().__init__(model, folder)
        self._graph = folder / "trees.onnx"

    def prepare(self) -> None:
        import lightgbm
        from onnxmltools import convert_lightgbm  # type: ignore[import-not-found]
        from onnxmltools.convert.common.data_types import FloatTensorType  # type: ignore[import-not-found]

        # Told that it is a regression, it sums the leaves and leaves the sigmoid away: raw scores.
        text = self._model.read_text().replace("objective=binary sigmoid:1", "objective=regression")
        text = text.replace("[objective: binary]", "[objective: regression]")
        booster = lightgbm.Booster(model_str=text)
        shape = FloatTensorType([None, booster.num_feature()])
        graph = convert_lightgbm(booster, initial_types=[("rows", shape)], zipmap=False)
        self._graph.write_bytes(graph.SerializeToString())

    def library(self) -> None:
        import onnxruntime  # type: ignore[import-not-found]  # noqa: F401

    def load(self) -> Predict:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(self._graph), options, providers=["CPUExecutionProvider"])
        return lambda rows: session.run(None, {"rows": rows})[0]


SIDES: Final[dict[str, Callable[[Path, Path], Ours]]] = {
    "ours": Ours,
    "LightGBM": LightGBM,
    "lleaves": Lleaves,
    "tl2cgen": Tl2cgen,
    "onnxruntime": OnnxRuntime,
}


def main() -> int:
    step, name, model, rows, scores, folder = sys.argv[1:]
    side = SIDES[name](Path(model), Path(folder))
    began = time.perf_counter()
    side.library()
    imported_s = time.perf_counter() - began
    if step == "prepare":
        began = time.perf_counter()
        side.prepare()
        print(json.dumps({"prepare_s": time.perf_counter() - began}))
        return 0
    given = side.form(np.load(rows))
    began = time.perf_counter()
    predict = side.load()
    loaded_s = time.perf_counter() - began
    answer = predict(given)
    first_s = time.perf_counter() - began
    ms = [_timed_ms(predict, given) for _ in range(WARM_CALLS + CALLS)][WARM_CALLS:]
    off = np.abs(np.asarray(answer, np.float64).reshape(-1) - np.load(scores)).max()
    figures = {"import_s": imported_s, "load_s": loaded_s, "first_s": first_s, "difference": float(off)}
    print(json.dumps({**figures, "ms": float(np.median(ms)), "fastest_ms": min(ms)}))
    return 0


def _timed_ms(predict: Predict, rows: Any) -> float:
    began = time.perf_counter()
    predict(rows)
    return (time.perf_counter() - began) * 1e3


if __name__ == "__main__":
    raise SystemExit(main())
