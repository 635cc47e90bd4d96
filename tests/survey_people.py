"""A thousand respondents, written as every kind of file, and the weighted tables of their answers."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

LABELS = {
    "econ": {1: "Excellent", 2: "Good", 3: "Only fair", 4: "Poor", 98: "Don't know", 99: "Refused"},
    "color": {1: "Red", 2: "Green", 3: "Blue", 99: "Refused"},
    "split": {1: "Yes", 2: "No", 99: "Refused"},
    "sex": {1: "Male", 2: "Female"},
    "party": {1: "Republican", 2: "Democrat", 3: "Independent", 4: "Something else"},
}
VARIABLES = {
    "caseid": "Case ID",
    "econ": "How would you rate economic conditions in this country today?",
    "color": "Which color should the new flag have?",
    "split": "Should the city build more parks?",
    "sex": "Sex",
    "party": "Party identification",
    "age": "Age of respondent",
    "wt": "Weight",
}


def draw_people():
    """1,000 respondents with a weight, refusals and a split sample."""
    rng = np.random.default_rng(1)
    n = 1000
    split = rng.choice([1.0, 2.0, 99.0], n, p=[0.6, 0.35, 0.05])
    split[rng.random(n) < 0.5] = np.nan
    return pd.DataFrame(
        {
            "caseid": np.arange(1, n + 1, dtype=float),
            "econ": rng.choice([1.0, 2, 3, 4, 98, 99], n, p=[0.1, 0.3, 0.3, 0.2, 0.05, 0.05]),
            "color": rng.choice([1.0, 2, 3, 99], n),
            "split": split,
            "sex": rng.choice([1.0, 2.0], n),
            "party": rng.choice([1.0, 2, 3, 4], n),
            "age": rng.integers(16, 91, n).astype(float),
            "wt": rng.lognormal(0, 0.7, n),
        }
    )


MISSING = {"econ": [98, 99], "color": [99], "split": [99]}


def write_sav(path, people, **more):
    import pyreadstat

    pyreadstat.write_sav(
        people,
        str(path),
        compress=path.suffix == ".zsav",
        column_labels=VARIABLES,
        variable_value_labels={k: {float(c): t for c, t in v.items()} for k, v in LABELS.items()},
        missing_ranges={"econ": [{"lo": 98, "hi": 99}], "color": [99], "split": [99]},
        variable_measure={"econ": "ordinal", "color": "nominal"},
        **more,
    )


def write_dta(path, people):
    import pyreadstat

    data = people.copy()
    special = {98: "d", 99: "r"}
    labels = {}
    for name, values in LABELS.items():
        labels[name] = {special.get(c, c): t for c, t in values.items()}
        cells = [None if np.isnan(v) else special.get(int(v), int(v)) for v in people[name]]
        data[name] = pd.Series(cells, dtype=object)
    pyreadstat.write_dta(
        data,
        str(path),
        column_labels=VARIABLES,
        variable_value_labels=labels,
        missing_user_values={"econ": ["d", "r"], "color": ["r"], "split": ["r"]},
    )


def as_labels(people):
    data = people.copy()
    for name, values in LABELS.items():
        data[name] = [None if np.isnan(v) else values[int(v)] for v in people[name]]
    return data


def write_csv(path, people):
    as_labels(people).to_csv(path, index=False, sep=";")


def write_parquet(path, people):
    pq.write_table(pa.Table.from_pandas(as_labels(people), preserve_index=False), path)


def write_xlsx(path, people):
    import openpyxl

    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("people")
    data = as_labels(people)
    sheet.append(list(data.columns))
    for row in data.itertuples(index=False):
        sheet.append([None if isinstance(v, float) and np.isnan(v) else v for v in row])
    book.save(path)


WRITERS = {
    "p.sav": write_sav,
    "p.zsav": write_sav,
    "p.dta": write_dta,
    "p.csv": write_csv,
    "p.parquet": write_parquet,
    "p.xlsx": write_xlsx,
}


def expected(people):
    """An explicit weighted table: for (group, question) the shares by response, and Kish's n."""
    levels = {
        "sex": people.sex.map(LABELS["sex"]),
        "party": people.party.map(LABELS["party"]),
        "age": pd.cut(
            people.age,
            [0, 18, 30, 50, 65, 200],
            right=False,
            labels=["under 18", "18-29", "30-49", "50-64", "65+"],
        ),
    }
    groups = {f"{a}={v}": levels[a] == v for a in levels for v in levels[a].unique()}
    for s in levels["sex"].unique():
        for p in levels["party"].unique():
            groups[f"sex={s} & party={p}"] = (levels["sex"] == s) & (levels["party"] == p)
    found = {}
    for group, member in groups.items():
        for q in ("econ", "color", "split"):
            answers = people[member & people[q].notna() & ~people[q].isin([98, 99])]
            weight = answers.wt.sum()
            shares = {
                LABELS[q][int(code)]: answers.wt[answers[q] == code].sum() / weight
                for code in sorted(LABELS[q])
                if code < 98
            }
            found[group, q] = shares, weight**2 / (answers.wt**2).sum()
    return found
