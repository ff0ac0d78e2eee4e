"""What every model card says in words."""

USE = "Research use only: not a medical device. Not to be used to choose, freeze or discard an embryo."

USERS = (
    "Embryologists and researchers of the clinics that took part, to study how well a picture tells the label, and to "
    "compare the model's order of one patient's embryos with their own. The decision stays with people."
)
NOT_FOR = (
    "Diagnosis or treatment; embryos of other clinics, microscopes or days than those below without an evaluation of one's "
    "own; genetic status, sex or any other property than the label."
)
LABELS = {
    "quality": (
        "A person's verdict on the embryo's quality (1 = good). The model learns to agree with those who graded; it "
        "cannot be better than they are, and says nothing of what would have come of the embryo."
    ),
    "implantation": (
        "Whether the transferred embryo implanted (1 = it did). Known only for embryos that were chosen for transfer, and "
        "decided as much by uterus, transfer and age as by the embryo."
    ),
    "live_birth": (
        "Whether the transfer led to a live birth (1 = it did). Known only for embryos that were chosen for transfer, and "
        "decided to a large part by what happened after it."
    ),
}
LIMITS = (
    "Evaluated on held-out patients of the clinics that trained it and not on another clinic: how it does elsewhere is not "
    "known.",
    "Intervals take embryos for independent; those of one patient are not quite, so that they are somewhat too narrow.",
    "Pictures of good and of poor embryos can differ in more than the embryo (day, device, light). A warning looks for day "
    "and clinic; it cannot see the rest.",
    "Figures come from sums that clinics release: days on which a class has fewer than 5 embryos are missing. AUROC of one "
    "clinic is exact, and AUPRC but for rounding; those of all clinics together, and calibration error, sensitivity and "
    "specificity, come from bins of 3 embryos and more.",
    "Nothing is known of age, diagnosis, origin or treatment of the patients, so that fairness has not been looked at.",
    "A picture that is no embryo, or a spoilt one, gets a score all the same.",
)
MADE = (
    "Federated: images and labels never left the clinics. Every clinic set whole patients aside, about a fifth for "
    "validation and a fifth or more for test; training, threshold, calibration and the choice of a round never saw a "
    "test patient."
)
DATA = (
    "Counts of images as each clinic told them when it joined, and of embryos as each told them in the run. Counts below 5 "
    "are not told."
)
LICENCE = "Code: MIT. Weights and data: as the clinics that took part agree; fill this in."
PERSONAL = {
    "norms": "Every clinic keeps normalisation layers of its own (FedBN).",
    "model": "Every clinic trains a whole model of its own beside the global one, which pulls it (Ditto).",
    "head": "Every clinic trains the last layer of the final model further on its own patients.",
}
SEEDS = (
    "Runs with the same settings, clinics and held-out embryos that differ in the seed alone: what chance in training does "
    "to the figures. It says nothing of other patients; the intervals do."
)
OVER_TIME = (
    "Finished runs with the same label, each on the patients that were held out then. Drift of the data shows here, and so "
    "do changed settings."
)
