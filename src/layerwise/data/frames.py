"""Tables of pandas, and Parquet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from layerwise import rows
from layerwise.data.arrays import Parts
from layerwise.data.columns import MISSING, Cells, written
from layerwise.data.dataset import Array, Dataset, Row
from layerwise.data.disk import COPIES
from layerwise.data.layout import BLOCK, LABELLESS, Codes, Columns, Layout, Table, Types, assembled, data_sets


def read_parquet(
    path: Path, label: str | int | None = None, types: Types | None = None, like: Row | None = None
) -> Parts:
    """A table in Parquet; see `read_csv` for the arguments. What is larger than memory lies in a temporary file.

    Raises:
        ValueError: As `read_csv` does, and if pandas and pyarrow are not installed or the file is broken.
    """
    pandas, parquet = _extra("pandas", path), _extra("pyarrow.parquet", path)
    try:
        file = parquet.ParquetFile(path, pre_buffer=False)  # or all that was read stays in memory
        if COPIES * 8 * file.metadata.num_rows * file.metadata.num_columns > rows.MEMORY:
            table = _streamed(path, file, label, types, like)
        else:
            table = _framed(str(path), pandas.read_parquet(path), label, types, like)
    except _extra("pyarrow", path).ArrowException as error:
        raise ValueError(f"{path} is not an intact Parquet file ({error}). Write or fetch it again.") from error
    return data_sets(table, path.name)


def read_frame(df: Any, label: str | int | None = None, types: Types | None = None, like: Row | None = None) -> Parts:
    """A pandas DataFrame; see `read_csv` for the arguments. Its index is ignored, and names are taken as text."""
    return data_sets(_framed("DataFrame", df, label, types, like), "DataFrame")


def frame(df: Any, label: str | int | None = None, types: Types | None = None, like: Row | None = None) -> Dataset:
    """A pandas DataFrame as one data set, whose `row` has learned from all of its rows, or is `like`.

    Arguments:
        label: Name or number (from 1; -1 is the last) of the column of labels; by default one called label, class,
            target or y; "" = none.
        types: What columns are where the guess is wrong, by name or number from 1: "number", "category", "date" or
            "leave out".
        like: What a row was that a model learned from.

    Raises:
        ValueError: As `read_csv` does.

    Example:
        >>> import pandas
        >>> df = pandas.DataFrame({"age": [20, 40, None], "work": ["farm", "office", "farm"], "y": ["a", "b", "a"]})
        >>> print(frame(df).describe())
        DataFrame: 3 rows of 2 columns (4 features), 2 classes, all labelled (labels from column 3 ('y'); 1 number, 1 category;
        missing in 'age' (1))
    """
    return read_frame(df, label, types, like)[0]


def _extra(module: str, path: Path) -> Any:
    """A module of the extra "tables"."""
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError as error:
        raise ValueError(
            f"{path}: to read Parquet takes pandas and pyarrow, which are not installed ({error}). "
            "Install them: pip install 'layerwise[tables]'"
        ) from error


def _framed(place: str, df: Any, label: str | int | None, types: Types | None, like: Row | None) -> Table:
    """The table that is in a frame."""
    if not len(df):
        raise ValueError(f"{place} has no rows. A table has at least one row of values.")
    header = list(map(str, df.columns))
    layout = Layout(place, header, len(header), label, types, like)
    found = [_series(df.iloc[:, index], layout, index) for index in range(layout.width)]
    return assembled(layout, found, _row_number)


def _row_number(row: int) -> str:
    return f"row {row} (from 0)"


def _series(series: Any, layout: Layout, index: int) -> Cells:
    """One column of a frame, taken for what its dtype says; text may still be anything."""
    name, number, kind = layout.header[index], index + 1, series.dtype.kind
    if kind == "c":
        raise ValueError(
            f"{layout.place}, {layout.title(index)}: complex numbers came. Give real and imaginary part a column each."
        )
    if str(series.dtype) == "category" or kind == "b":
        return _texts(series, name, number, "category", index == layout.label)
    if kind in "iuf" and index == layout.label:
        return _texts(series.astype(object), name, number, "text", True)
    if kind in "iuf":
        values = series.to_numpy(np.float64, na_value=np.nan)
        return Cells(name, number, "number", values, int(np.isnan(values).sum()))
    if kind in "mM" and index != layout.label:
        values = _days(series)
        return Cells(name, number, "date" if kind == "M" else "number", values, int(np.isnan(values).sum()))
    return _texts(series, name, number, "text", index == layout.label)


def _days(series: Any) -> Array:
    """Moments as days since 1970-01-01, and lengths of time in days."""
    if getattr(series.dtype, "tz", None) is not None:
        series = series.dt.tz_convert(None)
    fine = series.to_numpy(f"{series.dtype.kind}8[us]").view(np.int64)
    return np.where(series.isna().to_numpy(), np.nan, fine / 86_400e6)


def _texts(series: Any, name: str, number: int, kind: str, label: bool) -> Cells:
    """A column of whatever is not numbers, as text."""
    import pandas

    try:
        positions, found = pandas.factorize(series)
    except TypeError:  # lists and the like
        positions, found = pandas.factorize(series.map(str))
    codes = Codes(LABELLESS if label else MISSING)
    values = np.append(codes.of(_text(each) for each in found), -1)[positions]
    return Cells(name, number, kind, values, int((values < 0).sum()), tuple(codes.texts))


def _text(value: Any) -> str:
    """A value as it is written: whole numbers without a point, days without a time."""
    if isinstance(value, float):
        return written(np.array([value]))[0] if np.isfinite(value) else str(value)
    return str(value).strip()


def _streamed(path: Path, file: Any, label: str | int | None, types: Types | None, like: Row | None) -> Table:
    """A table in Parquet that is larger than memory, read a batch at a time."""
    schema = file.schema_arrow
    index = json.loads(schema.metadata[b"pandas"])["index_columns"] if b"pandas" in (schema.metadata or {}) else []
    header = [name for name in schema.names if name not in index]
    layout = Layout(str(path), header, len(header), label, types, like)
    columns, start = Columns(layout), 0
    for batch in file.iter_batches(BLOCK, columns=header):
        blocks = []
        for at, name in enumerate(header):
            cells = _series(batch.column(name).to_pandas(), layout, at)
            _check_finite(cells, layout, start)
            values = cells.values
            if cells.kind not in ("number", "date"):
                values = np.append(columns.each[at].codes.of(cells.texts), -1)[values]
            blocks.append((cells.kind, values))
        columns.add(blocks)
        start += batch.num_rows
    return assembled(layout, columns.cells(), _row_number)


def _check_finite(cells: Cells, layout: Layout, start: int) -> None:
    """Raises an error for an infinite number; `start` is the number of the first row."""
    if cells.kind == "number" and (bad := np.isinf(cells.values)).any():
        row = int(bad.argmax())
        raise ValueError(
            f"{layout.place}, {_row_number(start + row)}, {cells.title}: {cells.values[row]} is not a finite number. "
            "Mend it, or leave the row out."
        )
