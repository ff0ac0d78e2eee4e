"""All words of the console, in one place for translation."""

# -- every page -----------------------------------------------------------------------------------------------------------
TITLE = "EmbryoFL console"
RESEARCH = "Research use only: not a medical device."
NOW, CLINICS, TRAINING, RESULTS, CONNECTION = "Now", "Clinics", "Training", "Results", "Connection"
LOG_IN, PASSWORD, LOG_OUT = "Log in", "Password", "Log out"
WRONG_PASSWORD = "That is not the password. It was printed once; a new one: make console-password"  # noqa: S105
NO_PASSWORD = "There is no password yet. Make one: make console-password"  # noqa: S105
AGAIN = "Log in again: the session is over, or the console was started anew."
AWAY = "The console does not answer. What is shown is from before; this page goes on by itself when it is back."
TOO_MANY = "Too many wrong passwords; try again in a minute."
WRONG_HOST = "This console is not called that. Open it as localhost."
OTHER_SITE = "This request comes from another site, or from no page of this one."
TOO_LARGE = "This request is too large; the console takes no files."
LOG_IN_FIRST = "Log in first."
NOT_HERE = "There is no such page."
HUB_AWAY = "The hub does not answer. Is it being started? What is shown is from before."
NO_FILE = "There is no such file. Files: {names}."
LOADING = "Looking at the hub..."
DONE = "Done."
SECONDS, MINUTES, HOURS = "{n} s", "{n} min", "{n} h"
TO = "to"
OF = "{n} of {of}"
JUST_NOW = "now"
STATES = {
    "done": "has answered",
    "training": "trains",
    "online": "online",
    "offline": "missing",
    "late": "late",
    "refused": "refused",
    "failed": "failed",
    "suspended": "suspended",
    "enrolled": "belongs to it",
    "evaluating": "evaluates",
    "waiting": "waits",
    "queued": "waits for its turn",
    "running": "runs",
    "paused": "paused",
    "finished": "finished",
    "stopped": "stopped",
    "revoked": "revoked",
    "left": "has left",
    "stopping": "stops",
    "starting": "starts",
}
MEANINGS = {"quality": "quality: a person's verdict", "implantation": "implantation", "live_birth": "live birth"}
STATE, SINCE, RUN, CLINIC, ROUND = "State", "Since", "Run", "Clinic", "Round"
MODEL, STRATEGY, ROUNDS = "Model", "Strategy", "Rounds"
AUROC, AUPRC, BRIER, ECE, LOSS = "AUROC", "AUPRC", "Brier score", "Calibration error (ECE)", "Loss"
ALL_CLINICS, ALL_DAYS = "All clinics", "All days"
DAY, DAY_UNKNOWN = "Day {day}", "Day unknown"
ON_VALIDATION = "validation patients, by round"

# -- Now ------------------------------------------------------------------------------------------------------------------
NEXT = "Next:"
NO_RUN, NO_RUN_HERE = "No run yet. Start one on the page Training.", "No run yet. Start one below."
ALL_WELL = "Nothing to do."
APPROVE_NEXT = "Approve or refuse on the page Clinics: {names}."
INVITE_NEXT = "Invite clinics on the page Clinics."
START_NEXT = "Start a run on the page Training."
SWITCH_ON_NEXT = "See whether these are switched on and connected: {names}."
SUSPENDED_NEXT = "The run waits for clinics. Suspended, and let take part again on the page Clinics: {names}."
RESUME_NEXT = "Take up the paused run {names} on the page Training, or stop it."
RESULTS_NEXT = "{name} is finished: see the page Results."
FAILED_NEXT = "The run has ended before its time. Put the reason right and start another."
RUN_AT = "{name}: {state}, round {round} of {rounds}"
WAITING = "Waiting for {names}"
ITSELF = "the hub itself"
PHASE, DEADLINE, ENDS, PROGRESS = "Now", "Round's deadline", "Likely end", "Rounds done"
PHASES = {
    "idle": "between two rounds",
    "waiting": "waits for clinics",
    "training": "clinics evaluate and train",
    "aggregating": "the hub makes the new model",
    "evaluating": "closing evaluation",
}
END_UNKNOWN = "known after the first round"
END_FROM = "({each} a round, by {count})"
LAST_ROUNDS = ("the last one", "the last {n}")
QUEUED = "After it: {names}."
WHO_IS_IN = "Who is in"
COLUMNS = ("Clinic", "State", "Labelled images", "Validation AUROC", "Why")
CURVE = "AUROC on validation patients of all clinics, by round"
NO_CURVE = "The curve begins with the second round."
ROUND_IS = "round {round}: {value}"

# -- Clinics --------------------------------------------------------------------------------------------------------------
NO_CLINIC = "No clinic yet. Invite one below."
ROSTER = ("Clinic", "State", "Last seen", "Labelled images", "Patients", "Label")
APPROVE_TITLE, WHO_WAITS = "Somebody wants to join", "Waits for approval"
APPROVE, REFUSE, REFUSE_REASON = "Approve", "Refuse", "Reason for a refusal (the clinic is told)"
ONE_CLINIC = "One clinic"
REASON = "Reason (the clinic is told)"
SUSPEND, RESUME = "Suspend", "Let take part again"
RENAME_OR_REVOKE = "Rename, or revoke for good"
NEW_NAME, RENAME = "New name (small letters, digits, hyphens)", "Rename"
REVOKE, REVOKE_SURE = "Revoke for good", "Type the name again to revoke; its key never works again"
NOT_THE_SAME = "Nothing was done: choose a clinic and type the same name to revoke it."
LAST_SEEN, LINE, LABEL_MEANS, PATIENTS, KEY = "Last seen", "Line", "Label", "Patients", "Key"
LINE_UNKNOWN = "known after its first round"
LINE_DOWN, LINE_UP = "fetches {rate}/s", "sends {rate}/s"
RECONNECTS = "{n} reconnections since it was started"
COUNTS_TITLE = "Images by day and label, as told when joining (<5: fewer than 5)"
COUNTS = ("Day", "Label 1 (good)", "Label 0", "Unlabelled")
NO_COUNTS = "This clinic has told no counts."
ROUNDS_TITLE = "Last rounds, newest first"
ROUNDS_OF = ("Run, round", "Answer", "After", "Spent on, or why not", "To it / from it")
NO_ROUNDS = "It has not taken part in a round yet."
SPENT = {
    "download": "fetching",
    "evaluate": "evaluating",
    "train": "training",
    "loading": "loading",
    "upload": "sending",
}
INVITE_TITLE = "Invite a clinic"
INVITE_WORDS = "An invite makes one clinic, once. It is shown this one time."
NAME, DAYS, INVITE = "Clinic's name", "Good for so many days", "Make an invite"
INVITED = "Invite for {name}, good until"
SEND_SAFELY = (
    "Send one of these lines so that only they can read it; they put their folder of images in the place of "
    "/PATH/TO/IMAGES, which is only read."
)
INVITED_MANUAL = "After it has joined it waits for you, at the top of this page."
WAYS = {
    "docker": "With Docker",
    "podman": "With Podman",
    "pip": "Without containers (Linux, Python 3.11, pip install embryofl-clinic)",
}
COPY, COPIED = "Copy", "Copied"
NO_INVITES = "No invite is open."
INVITES_TITLE, INVITES = "Open invites", ("Clinic", "Made", "Good until")
OPEN_INVITE, WITHDRAW = "Open invite", "Take it back"
LOCAL_TITLE = "Test clinics on this machine"
LOCALS = ("Clinic", "Process")
LOCAL_CLINIC, LOCAL_START, LOCAL_STOP, LOOK_AGAIN = "Test clinic", "Start", "Stop", "Look again"
LOCAL_STARTED = "It is being started and will be online in a few seconds."
LOCAL_STOPPED = (
    "It is being stopped. It says goodbye to the hub; a run that needs it waits, and says so on the page Now."
)
NO_LOCAL_YET = "No test clinic is known here."
NO_LOCAL = "There are no test clinics to start or stop from here."
DEMO_AWAY = "The demo does not answer. Is `make demo` still running?"
COMPOSE_WORDS = "The console cannot start or stop containers. Type this where the federation was started:"
COMPOSE_LINES = (
    ("Four test clinics in place of fewer", "make up CLINICS=4"),
    ("Stop one", "docker stop embryofl-clinic-2-1"),
    ("Start it again", "docker start embryofl-clinic-2-1"),
    ("What it says", "make logs"),
)

# -- Training -------------------------------------------------------------------------------------------------------------
RUNS_TITLE = "Runs"
RUNS = ("Run", "State", "Round", "Model", "Strategy", "Since", "Reason")
STEER_TITLE = "Pause, go on, stop"
WHICH_RUN, WHICH_RUN_INFO, UNDER_WAY = "Run", "Without a choice: the one under way", "the one under way"
PAUSE, GO_ON, STOP = "Pause", "Go on with the paused run", "Stop for good"
PAUSING = "It is being paused; the round under way is done again when it goes on."
GOES_ON = "It goes on from its last complete round."
STOPPING = "It is being stopped; the model of its last complete round is kept."
STOP_WORD = "stop"
STOP_SURE = "Type 'stop' to stop the run for good"
NOT_STOPPED = "Nothing was done: type 'stop' to stop the run."
NEW_RUN_TITLE = "Start a run"
ROUNDS_INFO = "In each the clinics train and the hub makes one model"
EPOCHS, EPOCHS_INFO = "Local epochs", "How often a clinic goes through its images in a round"
SEED, SEED_INFO = "Seed", "The same seed on the same machine gives the same model"
LEAST, LEAST_INFO = "Least clinics", "So many must be online to begin; 0: all"
QUORUM, QUORUM_INFO = ("Quorum", "Enough at the deadline; 0: least clinics; below 1: a share")
DEADLINE_MIN, DEADLINE_INFO = "Round's deadline (minutes)", "0: by how fast the rounds before were"
PRIVACY_TITLE = "Privacy and protection"
PRIVACY = (
    "Images, labels and scores of single embryos never leave a clinic, whatever is chosen here. Model updates are not "
    "anonymous: differential privacy and secure aggregation are not part of this version. What can be set is how far one "
    "clinic may move the model."
)
CLIP, CLIP_INFO = "Shorten updates", "Beyond so many times the round's median; 0: never"
BOUND, BOUND_INFO = "Refuse updates", "Beyond so many times the round's median; 0: never"
SUSPEND_AFTER, SUSPEND_AFTER_INFO = "Suspend a clinic", "After so many refusals in a row; 0: never"
MORE_TITLE, MORE = "More settings", "One a line, name=value"
NO_SETTING = "{line!r} is no setting. Write it as name=value, such as rounds=15."
DEFAULTS = "All settings with their defaults:"
SIZE_IS = "It is {size} large."
NEEDS = "It needs {n} clinics at least."
ESTIMATE, START = "Estimate again", "Start the run"
STARTED = "{name} is queued; follow it on the page Now."
ESTIMATE_TITLE = "What it will cost, about"
TIME, TRAFFIC_NAME, ABOUT, NOT_KNOWN = "Time", "Traffic", "about {n}.", "not known."
TRAFFIC = "{one} for {clinics}, {total} through the hub: a model of {model} to and fro in {rounds}."
EACH_CLINIC, ROUNDS_OF_RUN = ("the one clinic", "each of {n} clinics"), ("one round", "{n} rounds")
TIME_FROM_RUN = (
    "{each} a round, as measured in {run} (rounds measured: {rounds}) with this model on these clinics' machines."
)
TIME_SCALED = "Training was reckoned up for other local epochs or another image size."
TIME_ROUGH = (
    "A rough figure, {each} a round, until a run has been measured: the largest clinic's {images} labelled images, about "
    "three fifths of which are trained on, at {ms} ms each on one processor core; sending and waiting come on top."
)
TIME_UNKNOWN = (
    "No run of this model has been measured, and nothing is known of how long it takes; see after the first round."
)
COMPARE_TITLE = "Compare runs"
COMPARE, COMPARE_INFO = "Runs to compare", "Choose two to six"
SETTING, DIFFERENT, SAME_SETTINGS = "Setting", "Settings that differ", "All settings are the same."
ROUNDS_DONE, FIGURE = "Rounds done", "Figure"
FINALS = "Final models on held-out patients (test), all days, with 95 % intervals"
NO_FINALS = "None of these runs has final figures yet."

# -- Results --------------------------------------------------------------------------------------------------------------
NO_RESULTS = "No run has results yet. A run has them when it is over and has had a round."
RESULTS_OF, SPLIT_INFO = "Choose one that is over", "Whose embryos the figures are of"
SPLIT, TEST, VALIDATION = "On", "held-out patients (test)", "validation patients"
SPLITS = {"test": "held-out patients (test)", "validation": "validation patients"}
WHOSE, WHICH_DAY = "Charts and tables of", "Day of culture"
WARNING, STOP_FIRST = "Warning.", "Do not use these figures before this is settled."
MODEL_OF, THRESHOLD = "Model of round", "Threshold"
DOWNLOADS = "Downloads"
FILES = {
    "model-card.html": "model card as a page",
    "model-card.md": "model card as text",
    "model-card.json": "model card as data",
    "results.json": "all figures",
    "model-card-public.html": "model card to pass on: without what clinics do not want others to see",
    "model-card-public.md": "the same as text",
    "model-card-public.json": "the same as data",
    "results-public.json": "figures to pass on",
    "model.json": "how the model is to be used: settings, calibration, threshold",
    "model.safetensors": "the model's weights",
}
FIGURES_TITLE = "Figures on {split}"
FIGURES_CAPTION = "Per clinic and pooled, with 95 % intervals; sensitivity and specificity at the threshold"
FIGURES = ("Clinic", "Day", "Embryos", "Good", AUROC, AUPRC, BRIER, "Sensitivity", "Specificity")
TOO_FEW = "too few"
WITHHELD = "Too few embryos of a class: clinics do not release figures of fewer than 5."
NOTHING_OF = "Nothing is known of these embryos."
SENSITIVITY, SPECIFICITY = "Sensitivity", "Specificity"
PPV, NPV = "Good among those called good", "Not good among those called not good"
CONFUSION_AT = "Embryos at a threshold of {threshold}, fixed on validation patients"
CONFUSION = ("Label", "Called good", "Called not good")
REALLY_GOOD, REALLY_NOT = "Label 1 (good)", "Label 0"
CALIBRATION_TITLE = "Calibration (slope 1 and in the large 0 would be right)"
CALIBRATION = ("Scores", "Slope", "In the large", ECE, BRIER)
BEFORE, AFTER = "As the model gives them", "Calibrated on validation patients"
RANKING_TITLE = "Ranking within a patient's cohort (embryos of one day, good and other ones among them)"
RANKING = ("Clinic", "Cohorts", "Best is good", "By chance", "NDCG", "Kendall's tau", "Critical error")
NO_RANKING = "No cohort has both a good and another embryo, so that nothing is known of the ranking."
GRADES_TITLE = "Gardner grades"
GRADES = ("Clinic", "Grade", "Embryos", "Agree exactly", "Mean distance in levels")
INTERVALS = "Intervals are of 95 % and take embryos for independent."
ROC, CHANCE, AT_THRESHOLD = "Model", "Chance", "At the threshold"
ROC_TITLE = "ROC curve"
FALSE_POSITIVES = "1 - specificity"
ROC_SAID = "AUROC {auroc}."
ROC_POINT = "At the threshold: sensitivity {sens}, specificity {spec}."
RELIABILITY_TITLE = "Calibration: share of good embryos by score"
TOLD, SHARE_GOOD, PERFECT = "Probability told", "Share that was good", "As told"
RELIABLE = "told {score}, good {share}"
DECISION_TITLE = "Decision curve"
THRESHOLD_P, BENEFIT = "Threshold probability", "Net benefit"
BY_MODEL, CALL_ALL, CALL_NONE = "By the model", "Call all good", "Call none good"
BENEFIT_AT = "at {p}: {benefit}"
CARD_TITLE, SHOW_CARD, CARD_OF = "Model card", "Show the model card", "Model card of {name}"

# -- Connection -----------------------------------------------------------------------------------------------------------
ADDRESSES, PORT = "Clinics reach it at", "Port"
CERTIFICATE_NAMES = "Names in the gateway's certificate"
CERTIFICATE_ENDS, AUTHORITY_ENDS = "Gateway's certificate ends", "Authority's certificate ends"
SOON, ENDED = "soon", "has ended"
ROTATING = "It is being changed; these have not taken the new one: {names}."
ROTATED = "It is being changed; all clinics have taken the new one: embryofl-server rotate-ca --finish"
TUNNEL, TUNNEL_UP, TUNNEL_DOWN = "Tunnel (ngrok)", "up", "down"
NO_TUNNEL = "off; to turn it on, start with NGROK=1"
TUNNEL_BEFORE = "(was {before})"
APPROVAL = "Who joins with an invite"
APPROVALS = {"auto": "takes part at once", "manual": "waits for approval"}
VERSION = "Hub's version"
MONITORING, GRAFANA, PROMETHEUS = "Monitoring", "Grafana: dashboards and alerts", "Prometheus"
NO_MONITORING = "No Grafana is known here. With containers it comes with make up; beside make demo, with make monitor."
AUDIT_TITLE = "Audit log"
AUDIT = ("Line", "When", "What", "Details")
ANY, EVENT, LAST = "all", "What", "The newest"
SHOW_AUDIT, VERIFY = "Show", "Verify that it is whole"
NO_ENTRIES = "Nothing of that kind is in the log."
WHOLE, BROKEN = "The audit log is whole.", "The audit log is broken."
EVENTS = {
    "hub_started": "hub started",
    "hub_stopped": "hub stopped",
    "invited": "invited",
    "invite_withdrawn": "invite taken back",
    "enrolled": "joined",
    "asked_to_join": "asked to join",
    "enrolment_refused": "not let in",
    "run_started": "run queued",
    "run_paused": "run paused",
    "run_continued": "run goes on",
    "run_ended": "run over",
    "round": "round",
    "key_changed": "key changed",
    "certificate_renewed": "certificate renewed",
}
