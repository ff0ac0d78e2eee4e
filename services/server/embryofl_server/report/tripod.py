"""The items of TRIPOD+AI, and which of them a model card answers.

Collins et al., "TRIPOD+AI statement: updated guidance for reporting clinical prediction models that use regression or
machine learning methods", BMJ 385 (2024), e078378, https://doi.org/10.1136/bmj-2023-078378, table 2: 27 items, 52 with
their parts. The words are ours and shorter; numbers and what they ask for were compared with the published table.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal

Covered = Literal["card", "partly", "person"]
"""By this card, partly by it, or to be filled in by a person."""


@dataclass(frozen=True)
class Item:
    """One item: its number, what it asks for, who answers it, and where, or what a person has to add."""

    item: str
    topic: str
    covered: Covered
    where: str


ITEMS = (
    Item("1", "Title: development or evaluation, target population, outcome", "partly", "title; add the population"),
    Item("2", "Abstract by TRIPOD+AI for Abstracts", "person", "write it"),
    Item(
        "3a",
        "Health care context (diagnostic or prognostic), rationale, existing models",
        "person",
        "why an embryo score, and what exists",
    ),
    Item("3b", "Target population, intended purpose and users", "partly", "Intended use; add the patients"),
    Item("3c", "Known health inequalities between groups", "person", "none is known to the software"),
    Item(
        "4",
        "Objectives: development, evaluation or both",
        "partly",
        "Intended use, How it was made; state the aims of the study",
    ),
    Item(
        "5a",
        "Sources of data, for development and evaluation apart; rationale, representativeness",
        "partly",
        "Data; add how it was collected and whom it stands for",
    ),
    Item("5b", "Dates of the data, end of follow-up", "person", "first and last cycle of each clinic"),
    Item("6a", "Setting, number and place of centres", "partly", "Data; add places"),
    Item("6b", "Eligibility criteria", "person", "which patients and embryos were left out, and why"),
    Item(
        "6c",
        "Treatments received, and how they were handled",
        "person",
        "stimulation, fertilisation, culture, transfer policy",
    ),
    Item(
        "7",
        "Data preparation and quality checks, alike in all groups of patients",
        "partly",
        "Settings; each clinic has its data report; groups are not known here",
    ),
    Item(
        "8a",
        "Outcome and its rationale, time horizon, how and when assessed, alike in all groups",
        "partly",
        "What the label means; add the criteria",
    ),
    Item(
        "8b",
        "Outcome assessors, if judged by people: qualification and demography",
        "person",
        "who graded, with what experience",
    ),
    Item("8c", "Blinding of the outcome assessment", "person", "did graders know the course of the cycle?"),
    Item("9a", "Choice of predictors", "card", "How it was made: the picture alone"),
    Item(
        "9b",
        "Predictors: definition, how and when measured, blinding",
        "partly",
        "How it was made; add microscopes, times, and who knew the outcome",
    ),
    Item("9c", "Predictor assessors, if judged by people", "card", "none: pixels"),
    Item(
        "10",
        "Study size, for development and evaluation apart, and that it is enough",
        "partly",
        "Data; say how it was arrived at",
    ),
    Item("11", "Missing data", "partly", "unlabelled embryos are left out of training; say why they are unlabelled"),
    Item("12a", "How data were used, partitioning", "card", "How it was made: split by patient"),
    Item("12b", "Handling of predictors", "card", "Settings"),
    Item(
        "12c",
        "Type of model and rationale, building, tuning, internal validation",
        "partly",
        "How it was made, Settings; say why this model, and what was tried",
    ),
    Item(
        "12d",
        "Heterogeneity between clusters (hospitals): how handled and measured",
        "card",
        "Figures per clinic, Warnings",
    ),
    Item("12e", "Performance measures and plots", "card", "Figures, Calibration, Decision curve, Ranking"),
    Item(
        "12f", "Model updating after evaluation (recalibration)", "card", "Calibration, learned on validation patients"
    ),
    Item(
        "12g",
        "How predictions were calculated",
        "card",
        "How it was made: model file with SHA-256, calibration formula",
    ),
    Item("13", "Class imbalance: methods, why, recalibration afterwards", "card", "Settings: balance; Calibration"),
    Item("14", "Fairness: approaches and rationale", "person", "no patient's characteristics reach the software"),
    Item("15", "Output of the model, threshold and its rationale", "card", "How it was made, Threshold"),
    Item(
        "16",
        "Differences of setting, eligibility, outcome, predictors between development and evaluation",
        "partly",
        "the same clinics, split by patient; Figures per clinic and day; add what else differs",
    ),
    Item("17", "Ethical approval and informed consent", "person", "board, number, consent, of each clinic"),
    Item("18a", "Funding and the role of the funders", "person", "name it"),
    Item("18b", "Conflicts of interest", "person", "name them"),
    Item("18c", "Protocol, or that there was none", "person", "where it is"),
    Item("18d", "Registration, or that there was none", "person", "register and number"),
    Item("18e", "Availability of data", "partly", "data stay with the clinics; say how to ask for them"),
    Item("18f", "Availability of the analysis code", "card", "Licence and versions"),
    Item("19", "Patient and public involvement", "person", "describe it"),
    Item(
        "20a",
        "Flow of participants, with and without outcome, follow-up time",
        "partly",
        "Data; counts below 5 are not told",
    ),
    Item(
        "20b",
        "Characteristics, overall and per centre, differences between groups",
        "person",
        "age, indication, cycle number: not known here",
    ),
    Item(
        "20c",
        "Evaluation: distribution of predictors and outcome beside the development data",
        "partly",
        "Data: images and labels of each clinic and side; add the patients' characteristics",
    ),
    Item("21", "Participants and outcomes in each analysis", "card", "Data, Figures"),
    Item(
        "22",
        "Full model, so that it can be used by others, and restrictions",
        "partly",
        "model.safetensors and model.json; Licence: fill in who may use it",
    ),
    Item("23a", "Performance with intervals, in subgroups", "partly", "per clinic and day; no subgroups of patients"),
    Item("23b", "Heterogeneity of performance between clusters", "card", "Figures per clinic"),
    Item(
        "24",
        "Results of model updating: the updated model and its performance",
        "card",
        "Calibration, before and after",
    ),
    Item("25", "Interpretation, with fairness, objectives and earlier studies", "person", "what follows from it"),
    Item(
        "26",
        "Limitations and their effect on bias, uncertainty, generalisability",
        "partly",
        "Limits, Warnings; add those of the data",
    ),
    Item("27a", "Poor or missing input when the model is used", "partly", "Limits; say what the laboratory does then"),
    Item("27b", "Users' interaction and expertise", "partly", "Intended use; add training"),
    Item("27c", "Next steps, applicability and generalisability", "person", "an external evaluation first"),
)


def items() -> list[dict[str, Any]]:
    """All items as dictionaries."""
    return [asdict(item) for item in ITEMS]
