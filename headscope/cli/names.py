"""Names that the shell completes: repeated here, because a Tab must not wait for torch; a test compares them."""

MODELS = (
    "mini", "minilm", "gpt2", "gpt2-small", "gpt2-medium", "gpt2-large", "gpt2-xl", "distilgpt2", "pythia-14m",
    "pythia-70m", "pythia-160m", "pythia-410m", "gpt-neo-125m", "opt-125m", "bert-base-uncased", "bert-base-cased",
)  # fmt: skip
TASKS = (
    "induction", "ioi", "ioi-s2", "ioi-random", "agreement", "greater-than", "pronoun", "winograd", "gender-bias",
    "facts", "capitals", "retrieval", "docstring", "docstring-random", "deduction", "deduction-facts",
    "deduction-premise", "deduction-symbolic", "deduction-symbolic-conditions", "deduction-symbolic-facts",
    "deduction-symbolic-traversal", "mini-agreement", "mini-clauses", "mini-gender", "mini-winograd", "mini-ioi",
    "mini-induction", "mini-reversal", "mini-duplicate", "mini-repetition", "mini-facts-context", "mini-facts-world",
    "mini-deduction", "mini-graph",
)  # fmt: skip
METHODS = (
    "patching", "ablation", "attention", "attribution", "direct", "parts", "positions", "mediation", "path-patching",
    "self-repair", "attribution-parts", "integrated-gradients", "importance", "probing",
)  # fmt: skip
METRICS = (
    "logit_difference", "probability", "probability_difference", "log_probability", "loss", "kl", "accuracy", "choice",
    "embedding_contrast",
)  # fmt: skip
LABELS = (
    "upos", "number", "entity", "boundary", "relation", "arc", "coreference", "io", "io-name", "rule",
)  # fmt: skip
SITES = ("z", "q", "k", "v", "resid")
KINDS = ("ridge", "logistic")
ABLATIONS = ("resample", "mean", "zero", "counterfactual", "mean_position", "mean_template")
DEVICES = ("auto", "cpu", "cuda", "mps")
MAPS = ("auto", "balanced", "balanced_low_0", "sequential")
DTYPES = ("float32", "bfloat16", "float16")
PAPERS = ("three-percent",)
