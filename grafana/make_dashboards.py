"""Write the dashboards to grafana/dashboards/. Usage: python grafana/make_dashboards.py"""

import json
import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from panels import (  # noqa: E402
    GOOD_AUROC,
    GOOD_BRIER,
    GOOD_ECE,
    GOOD_RATE,
    NO_CLINIC,
    NO_ROUND,
    NONE_IS_GOOD,
    PLAIN,
    POOLED_LINE,
    REASON_MAPPINGS,
    SEVERITIES,
    STATE_MAPPINGS,
    bars,
    choice,
    columns,
    curve,
    fixed,
    override,
    page,
    query,
    row,
    stat,
    stepped,
    steps,
    table,
    timeline,
    variable,
    zero_as,
)

OUT = Path(__file__).parent / "dashboards"
GOOD, BAD, BUSY = fixed("green"), fixed("red"), fixed("blue")
ALL, ONE = 'clinic="pooled"', 'clinic!="pooled"'
DAYS = 'split="validation", day="all"'


def what_to_do() -> list[Any]:
    """The alerts' own words on what to do, by their names."""
    rules = (OUT.parents[1] / "prometheus" / "rules" / "alerts.yml").read_text()
    found = re.findall(r"- alert: (\w+)\n.*?action: (.*?)\n", rules, re.S)
    return [
        {
            "type": "value",
            "options": {name: {"text": words.strip('"'), "index": i} for i, (name, words) in enumerate(found)},
        }
    ]


WHY = override("Reason", mappings=REASON_MAPPINGS, custom__minWidth=220)


def now(expr: str, legend: str = "") -> Any:
    """A query for this moment alone."""
    return query(expr, legend, now=True)


def federation() -> Any:
    """The coordinator's page."""
    run_colours = [
        override(s, color=c)
        for s, c in (
            ("running", BUSY),
            ("waiting", fixed("orange")),
            ("finished", GOOD),
            ("failed", BAD),
            ("stopped", BAD),
            ("queued", BUSY),
            ("paused", fixed("orange")),
        )
    ] + [override("none", color=fixed("#6e7077"), displayName="no run yet")]
    state_column = override("State", mappings=STATE_MAPPINGS, custom__cellOptions={"type": "color-text"})
    auroc_column = override(
        "AUROC",
        decimals=3,
        min=0.5,
        max=1,
        thresholds=GOOD_AUROC,
        color={"mode": "thresholds"},
        custom__cellOptions={"type": "gauge", "mode": "basic", "valueDisplayMode": "text"},
    )
    return page(
        "embryofl-federation",
        "Federation: how does training go?",
        "Is it running, who is here, why does it wait, how good is the model now.",
        [
            row("Right now"),
            stat(
                "Run",
                "State of the newest run.",
                now("max by (state) (embryofl_run_state) == 1", "{{state}}"),
                w=3,
                show="name",
                coloured="background",
                overrides=run_colours,
            ),
            stat(
                "Rounds",
                "Complete rounds of the newest run, and how many it is to have.",
                [
                    now("max(embryofl_run_rounds_done) and max(embryofl_run_rounds) > 0", "done"),
                    now("max(embryofl_run_rounds) > 0", "planned"),
                ],
                w=3,
                show="value_and_name",
                empty="no run yet",
            ),
            stat(
                "Clinics",
                "Clinics that are connected, of those that have joined.",
                [
                    now("max(embryofl_clinics_online) and max(embryofl_clinics_enrolled) > 0", "online"),
                    now("max(embryofl_clinics_enrolled) > 0", "joined"),
                ],
                w=3,
                show="value_and_name",
                empty=NO_CLINIC,
                thresholds=steps("orange", (1, "green")),
            ),
            stat(
                "What it does",
                "Phase of the round under way.",
                now("max by (phase) (embryofl_round_phase) == 1", "{{phase}}"),
                w=3,
                show="name",
                overrides=[override("waiting", color=fixed("orange")), override("idle", color=fixed("text"))],
            ),
            stat(
                "Waits for",
                "The clinics whose answers (before a round: whose connections) the run is waiting for.",
                now("max by (clinic) (embryofl_clinic_awaited) == 1", "{{clinic}}"),
                w=4,
                show="name",
                empty="nobody",
                overrides=[override("/.*/", color=BUSY, regex=True)],
            ),
            stat(
                "Waits at most",
                "Time until the hub stops waiting for clinics in this phase.",
                now("clamp_min(max(embryofl_round_wait_end_timestamp_seconds) - time(), 0)"),
                w=3,
                unit="s",
                mappings=zero_as("waits for nobody"),
                thresholds=steps("text", (1, "blue")),
                decimals=0,
            ),
            stat(
                "AUROC",
                "Of the newest global model on all clinics' validation patients. 0.5 is guessing; models of "
                "outcomes honestly reach 0.6 to 0.7, models of a person's verdict more.",
                now(f"max(embryofl_model_auroc{{{ALL}, {DAYS}}})"),
                w=3,
                unit="none",
                decimals=3,
                thresholds=GOOD_AUROC,
                empty=NO_ROUND,
            ),
            stat(
                "Alerts",
                "Alerts that are firing; the Operations dashboard says which and what to do.",
                now('count(ALERTS{alertstate="firing"}) or vector(0)'),
                w=2,
                thresholds=NONE_IS_GOOD,
                coloured="background",
            ),
            row("Who is here, and what does it wait for?"),
            timeline(
                "What the clinics do",
                "State of each clinic over time. Refused: its answer was not taken.",
                query("embryofl:clinic_state_number", "{{clinic}}"),
                STATE_MAPPINGS,
                w=15,
                h=8,
                empty=NO_CLINIC,
            ),
            stepped(
                "Quorum",
                "Answers the round needs, has, and can still get from clinics that are online (before a "
                "round: clinics online). Possible below needed means that it cannot end well.",
                [
                    query("max(embryofl_round_quorum_wanted)", "needed"),
                    query("max(embryofl_round_quorum_met)", "had"),
                    query("max(embryofl_round_quorum_possible)", "possible"),
                ],
                w=9,
                min=0,
                decimals=0,
                at_least=3,
                overrides=[
                    override("needed", color=fixed("orange"), custom__lineStyle={"fill": "dash", "dash": [10, 6]}),
                    override("had", color=GOOD),
                    override("possible", color=BUSY),
                ],
            ),
            table(
                "The clinics",
                "One row a clinic: what it does, what it brought, and how good the newest global model is on its "
                "validation patients.",
                ["clinic"],
                {
                    "State": "max by (clinic) (embryofl:clinic_state_number)",
                    "Last seen": "time() - max by (clinic) (embryofl_clinic_last_seen_timestamp_seconds)",
                    "Trained on": "max by (clinic) (embryofl_clinic_examples)",
                    "Images/s": "max by (clinic) (embryofl_clinic_images_per_second)",
                    "Train loss": "max by (clinic) (embryofl_clinic_train_loss)",
                    "Val. loss": f"max by (clinic) (embryofl_model_loss{{{ONE}, {DAYS}}})",
                    "AUROC": f"max by (clinic) (embryofl_model_auroc{{{ONE}, {DAYS}}})",
                    "Taken": 'max by (clinic) (embryofl_updates_total{result="accepted"})',
                    "Not taken": 'sum by (clinic) (embryofl_updates_total{result!="accepted"})',
                },
                h=7,
                empty=NO_CLINIC,
                overrides=[
                    state_column,
                    auroc_column,
                    override("Last seen", unit="s", decimals=0),
                    override("Images/s", decimals=0),
                    override("Train loss", decimals=3),
                    override("Val. loss", decimals=3),
                    override(
                        "Not taken",
                        thresholds=NONE_IS_GOOD,
                        color={"mode": "thresholds"},
                        custom__cellOptions={"type": "color-text"},
                    ),
                ],
            ),
            row("How good is the model?"),
            stepped(
                "AUROC on validation patients",
                "The global model on each clinic's validation patients, and pooled. A curve "
                "moves when a round ends; blue marks are runs, red ones answers that were not taken.",
                [
                    query(f"max by (clinic) (embryofl_model_auroc{{{ONE}, {DAYS}}})", "{{clinic}}"),
                    query(f"max(embryofl_model_auroc{{{ALL}, {DAYS}}})", "all clinics"),
                ],
                min=0.4,
                max=1,
                decimals=3,
                overrides=[POOLED_LINE],
                empty=NO_ROUND,
            ),
            stepped(
                "Loss on validation patients",
                "Mean log loss of the global model. 0.693 is what answering 0.5 costs.",
                [
                    query(f"max by (clinic) (embryofl_model_loss{{{ONE}, {DAYS}}})", "{{clinic}}"),
                    query(f"max(embryofl_model_loss{{{ALL}, {DAYS}}})", "all clinics"),
                ],
                decimals=3,
                overrides=[POOLED_LINE],
                empty=NO_ROUND,
            ),
            stepped(
                "Training loss",
                "Mean loss of each clinic's last training.",
                query("max by (clinic) (embryofl_clinic_train_loss)", "{{clinic}}"),
                w=8,
                decimals=3,
                empty=NO_ROUND,
            ),
            stepped(
                "Which round",
                "The round under way, and the round of the model whose figures are shown.",
                [
                    query("max(embryofl_round)", "under way"),
                    query('max(embryofl_model_round{split="validation"})', "evaluated"),
                ],
                w=8,
                min=0,
                decimals=0,
                at_least=3,
            ),
            stepped(
                "Answers",
                "Answers of all clinics so far, by what became of them.",
                query("sum by (result) (embryofl_updates_total)", "{{result}}"),
                w=8,
                min=0,
                decimals=0,
                empty=NO_CLINIC,
                overrides=[
                    override("accepted", color=GOOD),
                    override("refused", color=BAD),
                    override("late", color=fixed("orange")),
                    override("failed", color=fixed("dark-red")),
                ],
            ),
        ],
    )


def clinic() -> Any:
    """One clinic's page."""
    me = 'clinic="$clinic"'
    return page(
        "embryofl-clinic",
        "Clinic: what does it bring, and is it well?",
        "One clinic: its data, its training, its link. All but the last row comes from the hub, which knows it from the "
        "clinic's replies.",
        [
            row("Right now"),
            stat(
                "State",
                "What the clinic does.",
                now(f"embryofl:clinic_state_number{{{me}}}"),
                mappings=STATE_MAPPINGS,
                coloured="background",
                empty=NO_CLINIC,
            ),
            stat(
                "Last seen",
                "Time since the clinic was last connected.",
                now(f"time() - max(embryofl_clinic_last_seen_timestamp_seconds{{{me}}})"),
                unit="s",
                decimals=0,
                empty=NO_CLINIC,
                thresholds=steps("green", (60, "orange"), (300, "red")),
            ),
            stat(
                "Joined",
                "When the clinic joined.",
                now(f"max(embryofl_clinic_enrolled_timestamp_seconds{{{me}}}) * 1000"),
                unit="dateTimeAsIso",
                empty=NO_CLINIC,
            ),
            stat(
                "Patients", "As told when it joined.", now(f"max(embryofl_clinic_patients{{{me}}})"), empty="not told"
            ),
            stat(
                "AUROC here",
                "The newest global model on this clinic's validation patients.",
                now(f"max(embryofl_model_auroc{{{me}, {DAYS}}})"),
                decimals=3,
                thresholds=GOOD_AUROC,
                empty="not enough embryos, or no round yet",
            ),
            stat(
                "Answers not taken",
                "Answers that were refused, late or failed, over all runs.",
                now(f'sum(embryofl_updates_total{{{me}, result!="accepted"}})'),
                thresholds=NONE_IS_GOOD,
                empty=NO_CLINIC,
            ),
            timeline(
                "What it did",
                "State over time.",
                query(f"embryofl:clinic_state_number{{{me}}}", "{{clinic}}"),
                STATE_MAPPINGS,
                w=24,
                h=4,
                empty=NO_CLINIC,
            ),
            row("Its data"),
            columns(
                "Embryos by day and label",
                "As told when it joined; counts below 5 are not told. Label 1 is a good embryo. "
                "A day with one label alone teaches nothing.",
                "day",
                {f"label {v}": f'sum by (day) (embryofl_clinic_embryos{{{me}, label="{v}"}})' for v in ("0", "1")},
                w=9,
                colours=["#8e8e8e", "green"],
                empty="not told, or fewer than 5 of each",
                unit="short",
                decimals=0,
            ),
            stepped(
                "Embryos trained on",
                "In the last accepted update, and those its validation figures rest on.",
                [
                    query(f"max(embryofl_clinic_examples{{{me}}})", "training"),
                    query(f"max(embryofl_model_embryos{{{me}, {DAYS}}})", "validation"),
                ],
                w=7,
                min=0,
                decimals=0,
                empty=NO_ROUND,
            ),
            stepped(
                "AUROC: here and everywhere",
                "The global model on this clinic's validation patients and on all clinics'.",
                [
                    query(f"max(embryofl_model_auroc{{{me}, {DAYS}}})", "this clinic"),
                    query(f"max(embryofl_model_auroc{{{ALL}, {DAYS}}})", "all clinics"),
                ],
                w=8,
                min=0.4,
                max=1,
                decimals=3,
                overrides=[POOLED_LINE],
                empty=NO_ROUND,
            ),
            row("Its training"),
            stepped(
                "Loss",
                "Training loss, and the global model's loss on its validation patients.",
                [
                    query(f"max(embryofl_clinic_train_loss{{{me}}})", "training"),
                    query(f"max(embryofl_model_loss{{{me}, {DAYS}}})", "validation"),
                ],
                w=8,
                decimals=3,
                empty=NO_ROUND,
            ),
            stepped(
                "Time of a round",
                "What the clinic spent its last round on.",
                query(f"max by (phase) (embryofl_clinic_phase_last_seconds{{{me}}})", "{{phase}}"),
                w=8,
                unit="s",
                stacked=True,
                min=0,
                empty=NO_ROUND,
            ),
            stepped(
                "Size of its update",
                "Distance of its update from the model it began with, and from the round's aggregate. "
                "A clinic that stays far from the aggregate has other data than the rest.",
                [
                    query(f"max(embryofl_clinic_update_norm{{{me}}})", "from the model before"),
                    query(f"max(embryofl_clinic_update_distance{{{me}}})", "from the aggregate"),
                ],
                w=8,
                min=0,
                decimals=2,
                empty=NO_ROUND,
            ),
            stat(
                "Speed",
                "Images trained on per second in the last round.",
                query(f"max(embryofl_clinic_images_per_second{{{me}}})"),
                w=4,
                decimals=0,
                spark=True,
                empty=NO_ROUND,
                thresholds=steps("orange", (10, "green")),
                unit="suffix: images/s",
            ),
            stat(
                "Loading images",
                "Share of the training time that went into reading images. Above a fifth, the cache is slow.",
                now(
                    f'max(embryofl_clinic_loading_last_seconds{{{me}}}) / max(embryofl_clinic_phase_last_seconds{{{me}, phase="train"}})'
                ),
                w=4,
                unit="percentunit",
                decimals=1,
                thresholds=steps("green", (0.2, "orange"), (0.5, "red")),
                empty=NO_ROUND,
            ),
            stat(
                "Device",
                "What it trains on.",
                now(f"max by (device) (embryofl_clinic_device_info{{{me}}})", "{{device}}"),
                w=4,
                show="name",
                empty=NO_ROUND,
            ),
            stat(
                "Memory",
                "Memory of the clinic's GPU in use; without a GPU, of its process. As of its last answer.",
                query(f"max(embryofl_clinic_memory_bytes{{{me}}})"),
                w=4,
                unit="bytes",
                decimals=1,
                spark=True,
                empty=NO_ROUND,
            ),
            stat(
                "Part in the model",
                "Share of its last update in the round's aggregate (0: the strategy left it out), and how much of "
                "the update's length was kept when long updates were shortened.",
                [
                    now(f"max(embryofl_clinic_update_share{{{me}}})", "share"),
                    now(f"max(embryofl_clinic_update_scale{{{me}}})", "length kept"),
                ],
                w=4,
                unit="percentunit",
                decimals=0,
                show="value_and_name",
                empty=NO_ROUND,
            ),
            stat(
                "Images so far",
                "Images trained on over all runs; every epoch counts.",
                now(f"max(embryofl_clinic_images_total{{{me}}})"),
                w=4,
                unit="short",
                empty=NO_CLINIC,
            ),
            row("Its link"),
            stepped(
                "Models and updates",
                "Bytes in accepted answers so far: models down, updates up.",
                query(f"max by (direction) (embryofl_clinic_transferred_bytes_total{{{me}}})", "{{direction}}"),
                w=7,
                unit="bytes",
                min=0,
                empty=NO_CLINIC,
            ),
            stepped(
                "Answers",
                "By what became of them, over all runs.",
                query(f"max by (result) (embryofl_updates_total{{{me}}})", "{{result}}"),
                w=8,
                min=0,
                decimals=0,
                empty=NO_CLINIC,
                overrides=[
                    override("accepted", color=GOOD),
                    override("refused", color=BAD),
                    override("late", color=fixed("orange")),
                    override("failed", color=fixed("dark-red")),
                ],
            ),
            table(
                "Why answers were not taken",
                "Reasons over all runs; docs/monitoring.md explains them.",
                ["reason"],
                {"Answers": f"sum by (reason) (embryofl_updates_refused_total{{{me}}})"},
                w=6,
                empty="all were taken",
                decimals=0,
                overrides=[WHY, override("Answers", custom__width=70)],
            ),
            stat(
                "Connections lost",
                "Times its process lost the hub and found it again, as of its last answer.",
                now(f"max(embryofl_clinic_reconnects{{{me}}})"),
                w=3,
                h=8,
                thresholds=steps("green", (1, "orange"), (10, "red")),
                empty=NO_ROUND,
            ),
            row("Live from the clinic's own exporter (only where it can be scraped)"),
            stepped(
                "Batches of this round",
                "Batches done, of those the round has.",
                [
                    query(f"max(embryofl_trainer_batch{{{me}}})", "done"),
                    query(f"max(embryofl_trainer_batches{{{me}}})", "all"),
                ],
                w=8,
                min=0,
                decimals=0,
                empty="this clinic is not scraped",
            ),
            curve(
                "Images per second",
                "Images trained on, from the clinic's own counter.",
                query(f"max(rate(embryofl_trainer_images_total{{{me}}}[$__rate_interval]))", "images/s"),
                w=8,
                min=0,
                decimals=0,
                empty="this clinic is not scraped",
            ),
            curve(
                "What its process does",
                "Share of the time spent on each part of the work; the rest is waiting.",
                query(
                    f"max by (phase) (rate(embryofl_trainer_phase_seconds_total{{{me}}}[$__rate_interval]))",
                    "{{phase}}",
                ),
                w=8,
                unit="percentunit",
                min=0,
                max=1,
                stacked=True,
                empty="this clinic is not scraped",
            ),
            stepped(
                "Connected to the hub",
                "1 while the hub can be reached, from the clinic's side.",
                query(f"max(embryofl_trainer_connected{{{me}}})", "connected"),
                w=6,
                h=6,
                min=0,
                max=1,
                decimals=0,
                empty="this clinic is not scraped",
            ),
            curve(
                "Traffic",
                "Bytes per second of models fetched and updates sent.",
                query(
                    f"max by (direction) (rate(embryofl_trainer_transferred_bytes_total{{{me}}}[$__rate_interval]))",
                    "{{direction}}",
                ),
                w=6,
                h=6,
                unit="binBps",
                min=0,
                empty="this clinic is not scraped",
            ),
            curve(
                "Memory of its process",
                "Resident memory, and memory of the GPU if there is one.",
                [
                    query(
                        'max(process_resident_memory_bytes{job="clinics"} * on (instance) group_left () '
                        f"(embryofl_trainer_connected{{{me}}} * 0 + 1))",
                        "process",
                    ),
                    query(f"max(embryofl_trainer_device_memory_bytes{{{me}}})", "device"),
                ],
                w=6,
                h=6,
                unit="bytes",
                min=0,
                empty="this clinic is not scraped",
            ),
            stepped(
                "Epoch",
                "Local epoch under way.",
                [
                    query(f"max(embryofl_trainer_epoch{{{me}}})", "epoch"),
                    query(f"max(embryofl_trainer_epochs{{{me}}})", "of"),
                ],
                w=6,
                h=6,
                min=0,
                decimals=0,
                empty="this clinic is not scraped",
            ),
        ],
        [variable("clinic", "Clinic", "label_values(embryofl_clinic_last_seen_timestamp_seconds, clinic)")],
    )


def quality() -> Any:
    """The model's page."""
    chosen = 'split="$split", day="$day"'
    at = f'{chosen}, threshold="$threshold"'
    everyone, each = f"{ALL}, {chosen}", f"{ONE}, {chosen}"

    def figure(title: str, text: str, name: str, thresholds: Any) -> Any:
        return stat(
            title,
            text,
            now(f"max(embryofl_model_{name}{{{everyone}}})"),
            w=3,
            decimals=3,
            thresholds=thresholds,
            empty=NO_ROUND,
        )

    return page(
        "embryofl-quality",
        "Model quality: how good is the global model, and for whom?",
        "The newest global model on patients it was not trained on, computed from sums. Choose the day: figures over all "
        "days mostly measure the day. Research use only.",
        [
            row("All clinics together"),
            figure(
                "AUROC",
                "Chance that a good embryo scores higher than a poor one; 0.5 is guessing.",
                "auroc",
                GOOD_AUROC,
            ),
            stat(
                "± (95 %)",
                "Half the width of the AUROC's 95 % interval; embryos are taken for independent.",
                now(f"1.96 * max(embryofl_model_auroc_error{{{everyone}}})"),
                w=3,
                decimals=3,
                thresholds=steps("green", (0.05, "orange"), (0.1, "red")),
                empty=NO_ROUND,
            ),
            stat(
                "Best so far",
                "Highest AUROC of this run, and the round that had it.",
                [
                    now(f"max(embryofl_model_auroc_best{{{everyone}}})", "AUROC"),
                    now(f"max(embryofl_model_auroc_best_round{{{everyone}}})", "round"),
                ],
                w=4,
                show="value_and_name",
                empty=NO_ROUND,
                overrides=[override("AUROC", decimals=3), override("round", decimals=0)],
            ),
            figure("AUPRC", "Average precision; compare it with the share of good embryos.", "auprc", PLAIN),
            figure(
                "Brier score",
                "Mean squared error of the scores; 0.25 is what answering 0.5 gives.",
                "brier",
                GOOD_BRIER,
            ),
            figure(
                "Calibration error", "How far scores are from frequencies, on average over ten bins.", "ece", GOOD_ECE
            ),
            stat(
                "Embryos",
                "That these figures rest on, and the good ones among them.",
                [
                    now(f"max(embryofl_model_embryos{{{everyone}}})", "all"),
                    now(f"max(embryofl_model_positives{{{everyone}}})", "good"),
                ],
                w=5,
                show="value_and_name",
                empty=NO_ROUND,
            ),
            row("For whom?"),
            bars(
                "AUROC by clinic",
                "The global model on each clinic's patients.",
                now(f"max by (clinic) (embryofl_model_auroc{{{each}}})", "{{clinic}}"),
                min=0.4,
                max=1,
                decimals=3,
                thresholds=GOOD_AUROC,
                empty=NO_ROUND,
            ),
            stepped(
                "AUROC over time",
                "Each clinic and all together.",
                [
                    query(f"max by (clinic) (embryofl_model_auroc{{{each}}})", "{{clinic}}"),
                    query(f"max(embryofl_model_auroc{{{everyone}}})", "all clinics"),
                ],
                w=8,
                min=0.4,
                max=1,
                decimals=3,
                overrides=[POOLED_LINE],
                empty=NO_ROUND,
            ),
            stepped(
                "Spread across clinics",
                "Highest less lowest AUROC, and the standard deviation. A model that is good on average "
                "and bad for one clinic shows here.",
                [
                    query(
                        f"max(embryofl_model_auroc{{{each}}}) - min(embryofl_model_auroc{{{each}}})", "highest - lowest"
                    ),
                    query(f"stddev(max by (clinic) (embryofl_model_auroc{{{each}}}))", "standard deviation"),
                ],
                w=8,
                min=0,
                decimals=3,
                empty=NO_ROUND,
            ),
            table(
                "Figures by clinic",
                "The newest global model on each clinic's patients. Withheld: 1 where a class of a day was too "
                "small to be told.",
                ["clinic"],
                {
                    "Embryos": f"max by (clinic) (embryofl_model_embryos{{{chosen}}})",
                    "Good": f"max by (clinic) (embryofl_model_positives{{{chosen}}})",
                    "AUROC": f"max by (clinic) (embryofl_model_auroc{{{chosen}}})",
                    "AUPRC": f"max by (clinic) (embryofl_model_auprc{{{chosen}}})",
                    "Loss": f"max by (clinic) (embryofl_model_loss{{{chosen}}})",
                    "Brier": f"max by (clinic) (embryofl_model_brier{{{chosen}}})",
                    "ECE": f"max by (clinic) (embryofl_model_ece{{{chosen}}})",
                    "Sensitivity": f"max by (clinic) (embryofl_model_sensitivity{{{at}}})",
                    "Specificity": f"max by (clinic) (embryofl_model_specificity{{{at}}})",
                    "Withheld": f"max by (clinic) (embryofl_model_withheld{{{chosen}}})",
                },
                h=7,
                empty=NO_ROUND,
                overrides=[
                    override(
                        "Clinic",
                        mappings=[{"type": "value", "options": {"pooled": {"text": "all clinics", "index": 0}}}],
                    )
                ]
                + [override(n, decimals=3) for n in ("AUPRC", "Loss", "Sensitivity", "Specificity")]
                + [
                    override(
                        n,
                        decimals=3,
                        thresholds=t,
                        color={"mode": "thresholds"},
                        custom__cellOptions={"type": "color-text"},
                    )
                    for n, t in (("AUROC", GOOD_AUROC), ("Brier", GOOD_BRIER), ("ECE", GOOD_ECE))
                ],
            ),
            row("Can its scores be taken at their word? (validation, all days)"),
            columns(
                "Calibration",
                "In each tenth of the scores: the mean score, and the share of embryos that were good. As high as "
                "each other is well calibrated.",
                "bin",
                {
                    "score": "max by (bin) (embryofl_model_calibration_score)",
                    "good": "max by (bin) (embryofl_model_calibration_frequency)",
                },
                w=9,
                min=0,
                max=1,
                decimals=2,
                colours=["#8e8e8e", "green"],
                empty=NO_ROUND,
            ),
            columns(
                "Embryos in each tenth",
                "How many embryos the bars to the left rest on.",
                "bin",
                {"embryos": "max by (bin) (embryofl_model_calibration_embryos)"},
                w=9,
                min=0,
                decimals=0,
                colours=["blue"],
                empty=NO_ROUND,
            ),
            stepped(
                "Calibration error over time",
                "Expected calibration error, each clinic and all together.",
                [
                    query(f"max by (clinic) (embryofl_model_ece{{{each}}})", "{{clinic}}"),
                    query(f"max(embryofl_model_ece{{{everyone}}})", "all clinics"),
                ],
                w=6,
                min=0,
                decimals=3,
                overrides=[POOLED_LINE],
                empty=NO_ROUND,
            ),
            row("With the rule 'score at or above $threshold is good'"),
            bars(
                "Sensitivity by clinic",
                "Share of good embryos that the rule finds.",
                now(f"max by (clinic) (embryofl_model_sensitivity{{{ONE}, {at}}})", "{{clinic}}"),
                w=6,
                min=0,
                max=1,
                unit="percentunit",
                decimals=0,
                thresholds=GOOD_RATE,
                empty=NO_ROUND,
            ),
            bars(
                "Specificity by clinic",
                "Share of poor embryos that the rule leaves out.",
                now(f"max by (clinic) (embryofl_model_specificity{{{ONE}, {at}}})", "{{clinic}}"),
                w=6,
                min=0,
                max=1,
                unit="percentunit",
                decimals=0,
                thresholds=GOOD_RATE,
                empty=NO_ROUND,
            ),
            columns(
                "At other thresholds (all clinics)",
                "What is won and lost with another threshold.",
                "threshold",
                {
                    "sensitivity": f"max by (threshold) (embryofl_model_sensitivity{{{everyone}}})",
                    "specificity": f"max by (threshold) (embryofl_model_specificity{{{everyone}}})",
                },
                w=6,
                min=0,
                max=1,
                decimals=2,
                colours=["green", "blue"],
                empty=NO_ROUND,
            ),
            stepped(
                "Over time (all clinics)",
                "Sensitivity and specificity of the rule.",
                [
                    query(f"max(embryofl_model_sensitivity{{{ALL}, {at}}})", "sensitivity"),
                    query(f"max(embryofl_model_specificity{{{ALL}, {at}}})", "specificity"),
                ],
                w=6,
                min=0,
                max=1,
                decimals=2,
                empty=NO_ROUND,
                overrides=[override("sensitivity", color=GOOD), override("specificity", color=BUSY)],
            ),
        ],
        [
            variable("day", "Day", "label_values(embryofl_model_withheld, day)", first="all"),
            choice("split", "Patients", ["validation", "test"], "validation"),
            choice("threshold", "Threshold", ["0.3", "0.4", "0.5", "0.6", "0.7"], "0.5"),
        ],
    )


def operations() -> Any:
    """The machinery's page."""
    hub = 'job="hub"'
    return page(
        "embryofl-operations",
        "Operations: is the machinery healthy?",
        "Alerts, durations, bytes, memory, restarts.",
        [
            row("What needs attention?"),
            table(
                "Alerts",
                "Alerts that are firing, and what each asks of you; docs/monitoring.md says more.",
                ["alertname", "severity", "clinic", "reason", "todo"],
                {
                    "Alerts": "count by (alertname, severity, clinic, reason, todo) "
                    '(label_replace(ALERTS{alertstate="firing"}, "todo", "$1", "alertname", "(.*)"))'
                },
                w=24,
                h=5,
                first=["Alert", "Severity", "Clinic", "Reason", "What to do"],
                empty="nothing is firing",
                decimals=0,
                overrides=[
                    override("What to do", mappings=what_to_do(), custom__width=640, custom__wrapText=True),
                    WHY,
                    override("Severity", mappings=SEVERITIES, custom__cellOptions={"type": "color-text"}),
                    override("Alerts", custom__hideFrom={"viz": True}),
                ],
            ),
            stat(
                "Disk free",
                "Free share of the disk that holds the hub's state. Below a tenth an alert fires.",
                now("embryofl:disk_free:ratio"),
                w=3,
                unit="percentunit",
                decimals=0,
                thresholds=steps("red", (0.1, "orange"), (0.2, "green")),
            ),
            stat(
                "Certificates",
                "Time until the first of the hub's certificates ends. The hub renews its own 60 days before.",
                now("min(embryofl:certificate_left_seconds)"),
                w=3,
                unit="s",
                decimals=0,
                thresholds=steps("red", (30 * 86400, "orange"), (60 * 86400, "green")),
            ),
            stat(
                "Checkpoint's age",
                "Since the newest round was saved.",
                now("time() - max(embryofl_checkpoint_timestamp_seconds)"),
                w=3,
                unit="s",
                decimals=0,
                empty="no run yet",
            ),
            stat(
                "SuperLink",
                "Whether it answers and knows the clinics.",
                now("max(embryofl_hub_superlink_up)"),
                w=3,
                coloured="background",
                thresholds=steps("red", (1, "green")),
                mappings=[
                    {"type": "value", "options": {"0": {"text": "away", "index": 0}, "1": {"text": "up", "index": 1}}}
                ],
            ),
            stat(
                "Interruptions",
                "Starts of the hub since it was made, runs taken up again, losses of the SuperLink during runs, and "
                "connections that clinics lost (as of their last answers).",
                [
                    now("max(embryofl_hub_starts_total)", "hub starts"),
                    now("max(embryofl_run_resumptions_total)", "resumed"),
                    now("max(embryofl_hub_link_losses_total)", "link lost"),
                    now("sum(embryofl_clinic_reconnects) or vector(0)", "clinics lost"),
                ],
                w=6,
                show="value_and_name",
            ),
            stat(
                "Scraped",
                "Targets that Prometheus reaches: the hub, and the clinics that can be scraped.",
                now("sum by (job) (up)", "{{job}}"),
                w=3,
                show="value_and_name",
                thresholds=steps("red", (1, "green")),
            ),
            stat(
                "Version", "Of the hub.", now("max by (version) (embryofl_hub_info)", "{{version}}"), w=3, show="name"
            ),
            row("How long do things take?"),
            stepped(
                "Last round",
                "The clinics' part of the last round, and the hub's: aggregation and saving.",
                query("max by (phase) (embryofl_round_last_duration_seconds)", "{{phase}}"),
                w=8,
                unit="s",
                stacked=True,
                min=0,
                empty=NO_ROUND,
            ),
            stepped(
                "Rounds of all runs",
                "Median and 95th percentile of the durations of all rounds (within the histogram's bounds).",
                [
                    query(
                        "histogram_quantile(0.5, sum by (le) (embryofl_round_duration_seconds_bucket)) > 0", "median"
                    ),
                    query(
                        "histogram_quantile(0.95, sum by (le) (embryofl_round_duration_seconds_bucket)) > 0",
                        "95th percentile",
                    ),
                ],
                w=8,
                unit="s",
                min=0,
                empty=NO_ROUND,
            ),
            bars(
                "Training time of each clinic",
                "In its last round. The slowest clinic decides how long a round takes.",
                now('sort_desc(max by (clinic) (embryofl_clinic_phase_last_seconds{phase="train"}))', "{{clinic}}"),
                w=8,
                unit="s",
                min=0,
                empty=NO_ROUND,
            ),
            row("Bytes and memory"),
            stepped(
                "Models and updates",
                "Bytes of models and what steers steps (down), updates (up), of accepted answers; all clinics, all runs.",
                query("sum by (direction) (embryofl_clinic_transferred_bytes_total)", "{{direction}}"),
                w=8,
                unit="bytes",
                min=0,
                empty=NO_CLINIC,
            ),
            curve(
                "Memory",
                "Resident memory of the hub's server, and of each clinic that is scraped.",
                [
                    query(f"max(process_resident_memory_bytes{{{hub}}})", "hub"),
                    query(
                        'max by (clinic) (process_resident_memory_bytes{job="clinics"} * on (instance) group_left (clinic) '
                        "(embryofl_trainer_connected * 0 + 1))",
                        "{{clinic}}",
                    ),
                ],
                w=8,
                unit="bytes",
                min=0,
            ),
            curve(
                "Processor",
                "Processor cores in use by the hub's server, and by all clinics that are scraped.",
                [
                    query(f"sum(rate(process_cpu_seconds_total{{{hub}}}[$__rate_interval]))", "hub"),
                    query('sum(rate(process_cpu_seconds_total{job="clinics"}[$__rate_interval]))', "clinics"),
                ],
                w=8,
                min=0,
                decimals=2,
                at_least=1,
            ),
            row("What went wrong?"),
            stepped(
                "Answers not taken, by reason",
                "Over all clinics and runs.",
                query("sum by (reason) (embryofl_updates_refused_total)", "{{reason}}"),
                w=8,
                min=0,
                decimals=0,
                empty="all were taken",
            ),
            table(
                "Answers not taken, by clinic",
                "Over all runs.",
                ["clinic", "reason"],
                {"Answers": "sum by (clinic, reason) (embryofl_updates_refused_total)"},
                w=8,
                empty="all were taken",
                decimals=0,
                overrides=[WHY, override("Clinic", custom__width=110), override("Answers", custom__width=80)],
            ),
            stepped(
                "Runs that are over",
                "By how they ended.",
                query("max by (state) (embryofl_runs_total)", "{{state}}"),
                w=8,
                min=0,
                decimals=0,
                at_least=3,
                overrides=[
                    override("finished", color=GOOD),
                    override("failed", color=BAD),
                    override("stopped", color=fixed("orange")),
                ],
            ),
        ],
    )


PAGES = {"federation": federation, "clinic": clinic, "quality": quality, "operations": operations}


def text_of(name: str) -> str:
    """A dashboard's file."""
    return json.dumps(PAGES[name](), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for name in PAGES:
        (OUT / f"{name}.json").write_text(text_of(name))
