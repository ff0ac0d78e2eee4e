"""All words of the console, in one place for translation."""

TITLE = "EmbryoFL console"
RESEARCH = "Research use only: not a medical device."
NOW, CLINICS, TRAINING = "Now", "Clinics", "Training"
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
LOADING = "Looking at the hub..."
NO_RUN = "No run yet. Start one on the page Training."
ALL_WELL = "Nothing to do."
APPROVE_NEXT = "Approve or refuse on the page Clinics: {names}."
INVITE_NEXT = "Invite clinics on the page Clinics."
TWO_NEXT = "See whether these are switched on and connected: {names}."
RESUME_NEXT = "Take up the paused run {names} on the page Training, or stop it."
FAILED_NEXT = "The run has ended before its time. Put the reason right and start another."
WAITING = "Waiting for {names}"
ITSELF = "the hub itself"
COLUMNS = ("Clinic", "State", "Labelled", "AUROC", "Why")
ROSTER = ("Clinic", "State", "Last seen", "Labelled", "Patients", "Meaning", "Key")
RUNS = ("Run", "State", "Round", "Reason")
CURVE = "AUROC on validation patients, all clinics, by round"
NO_CURVE = "The curve begins with the second round."
STATES = {"done": "has answered", "training": "trains", "online": "online", "offline": "missing", "late": "late",
          "refused": "refused", "failed": "failed", "suspended": "suspended", "enrolled": "belongs to it",
          "evaluating": "evaluates", "waiting": "waits for approval"}  # fmt: skip
NAME, REASON, SEND = "Clinic's name", "Reason (the clinic is told)", "Send this to the clinic; it is shown this once"
INVITE, APPROVE, SUSPEND, RESUME = "Make an invite", "Approve", "Suspend", "Let take part again"
REVOKE, REVOKE_SURE = "Revoke for good", "Type the name again to revoke; its key never works again"
NOT_THE_SAME = "Nothing was done: type the same name twice to revoke a clinic."
MODEL, STRATEGY, ROUNDS = "Model", "Strategy", "Rounds"
START, PAUSE, GO_ON, STOP = "Start a run", "Pause", "Go on with the paused run", "Stop for good"
STOP_SURE = "Type 'stop' to stop the run for good"
NOT_STOPPED = "Nothing was done: type 'stop' to stop the run."
DONE = "Done."
