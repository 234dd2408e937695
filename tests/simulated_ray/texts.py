"""Words that make a simulated cluster look like one in use. All invented."""

from __future__ import annotations

# (module, class name, the class's repr if it sets one)
CLASSES = (
    ("pipeline.preprocess", "Tokenizer", None),
    ("pipeline.preprocess", "ImageDecoder", None),
    ("pipeline.features", "FeatureStoreReader", "FeatureStoreReader(shard={n})"),
    ("training.loop", "TrainWorker", "TrainWorker(rank={n}, world_size=64)"),
    ("training.loop", "ParameterServer", "ParameterServer(partition={n})"),
    ("training.data", "ShuffleMerge", None),
    ("training.data", "_MapWorker", "MapWorker(ReadParquet->Map(clean))"),
    ("training.data", "_StatsActor", None),
    ("tune.trainables", "ImplicitFunc", "train_resnet"),
    ("serve.controller", "ServeController", None),
    ("serve.proxy", "ProxyActor", None),
    ("serve.replica", "ServeReplica:search:Ranker", None),
    ("serve.replica", "ServeReplica:search:Embedder", None),
    ("simulation.world", "Environment", "Environment(seed={n})"),
    ("simulation.world", "PolicyServer", None),
    ("monitoring.agents", "MetricsCollector", None),
    ("etl.sources", "KafkaReader", "KafkaReader(topic=clicks, partition={n})"),
    ("etl.sinks", "ParquetWriter", None),
)
TASKS = ("tokenize", "decode_image", "train_step", "evaluate", "read_parquet", "shuffle_map", "shuffle_reduce", "score_batch")
TASK_FAILURE = (
    "User exception:\n\x1b[36mray::train_step()\x1b[39m (pid=4711, ip=10.0.0.7)\n"
    '  File "/srv/app/training/loop.py", line 41, in train_step\nValueError: loss is NaN'
)
NAMESPACES = ("default", "search-prod", "recsys", "serve", "experiments", "8b9c2f0a-5f7e-4b0e-9a41-0c2d9f3b7e11")
NAME_STEMS = ("reader", "writer", "coordinator", "parameter_server", "cache", "scheduler", "replay_buffer", "evaluator")

ENTRYPOINTS = (
    "python train.py --config configs/resnet50.yaml --epochs 90",
    "python -m pipeline.preprocess --input s3://corpus/raw --output s3://corpus/tokens --shards 512",
    "python serve_app.py",
    "python -c \"import etl; etl.main(day='2026-11-20')\"",
    "python tune_sweep.py --trials 128 --metric val_loss",
    "bash run_nightly.sh --full --notify data-platform",
    "python simulate.py --episodes 10000 --policy ppo",
)
JOB_NAMES = ("nightly-train", "tokenize-corpus", "ranker", "etl-clicks", "resnet-sweep", "nightly", "ppo-episodes")
JOB_MESSAGES = {
    "PENDING": "Job has not started yet. It may be waiting for the runtime environment to be set up.",
    "RUNNING": "Job is currently running.",
    "SUCCEEDED": "Job finished successfully.",
    "STOPPED": "Job was intentionally stopped.",
    "FAILED": (
        "Job entrypoint command failed with exit code 1, last available logs (truncated to 20,000 chars):\n"
        "Traceback (most recent call last):\n"
        '  File "train.py", line 212, in <module>\n    main()\n'
        '  File "train.py", line 187, in main\n    raise RuntimeError("loss is NaN after step 4120")\n'
        "RuntimeError: loss is NaN after step 4120\n"
    ),
}

# (weight, reason, message): what Ray says in ActorDiedErrorContext
DEATHS = (
    (50, "OUT_OF_SCOPE", "The actor is dead because all references to the actor were removed."),
    (
        20,
        "OWNER_DIED",
        "The actor is dead because its owner has died. Owner Id: {owner} Owner Ip address: {ip} Owner worker exit type: INTENDED_USER_EXIT",
    ),
    (15, "RAY_KILL", "The actor is dead because it was killed by `ray.kill`."),
    (
        10,
        "WORKER_DIED",
        "The actor died unexpectedly before finishing this task. Worker exit type: SYSTEM_ERROR Worker exit detail: error code 2.",
    ),
    (
        5,
        "NODE_DIED",
        "The actor died because its node has died. Node Id: {node}\n\tthe actor's node was terminated unexpectedly: health check failed",
    ),
)
CREATION_FAILURE = (
    "The actor died because of an error raised in its creation task, \x1b[36mray::{name}.__init__()\x1b[39m (pid={pid}, ip={ip})\n"
    '  File "/srv/app/training/loop.py", line 41, in __init__\n    raise ValueError("checkpoint not found")\n'
    "ValueError: checkpoint not found"
)
WORKER_EXITS = (
    (
        "INTENDED_SYSTEM_EXIT",
        "Worker exits because the actor is killed. The actor is dead because all references to the actor were removed.",
    ),
    ("INTENDED_USER_EXIT", "Worker exits by an user request. exit_actor() is called."),
    (
        "SYSTEM_ERROR",
        "Worker unexpectedly exits with a connection error code 2. End of file. Some common causes include: (1) killed by SIGKILL.",
    ),
    ("NODE_OUT_OF_MEMORY", "Task was killed due to the node running low on memory."),
    ("USER_ERROR", "Worker exits unexpectedly. Worker exits with an exit code 1."),
)
NODE_DEATHS = {
    "UNEXPECTED_TERMINATION": "health check failed due to missing too many heartbeats",
    "EXPECTED_TERMINATION": "received SIGTERM",
    "AUTOSCALER_DRAIN_IDLE": "Termination of node due to idleness: idle for 300 seconds",
    "AUTOSCALER_DRAIN_PREEMPTED": "the instance was reclaimed by the cloud provider",
}
PLACEMENT_GROUP_NAMES = ("train-gang", "serve-replicas", "shuffle", "", "tune-trial", "eval")
ZONES = ("eu-west-1a", "eu-west-1b", "eu-west-1c")

# (node type, instance type, CPUs, GPUs, memory bytes, GPU model)
NODE_TYPES = (
    ("cpu-16", "m6i.4xlarge", 16, 0, 64 << 30, ""),
    ("cpu-64", "m6i.16xlarge", 64, 0, 256 << 30, ""),
    ("gpu-8", "p4d.24xlarge", 96, 8, 1152 << 30, "A100"),
)
