# A block of consecutive snapshots. What can change its weights is in `recipe`, which holds a training version raised by
# hand: no edit of code trains anything again by accident. Snapshots and states are not declared, so that a killed job
# finds them and goes on.
rule train:
    input:
        corpus=expand("results/corpora/{corpus}/manifest.json", corpus=study.corpus),
        previous=expand(
            "results/models/{model}/block-{block}.json",
            model=study.this_model,
            block=study.previous_block,
        ),
    output:
        manifest="results/models/{model}/block-{block}.json",
        table="results/tables/training/model={model}/block-{block}.parquet",
    log:
        "results/logs/train/{model}-{block}.log",
    benchmark:
        "results/logs/train/{model}-{block}.tsv"
    priority: 1
    conda:
        f"../../envs/{cluster.environment}.yaml"
    container:
        None  # srun is outside: the launch command brings each rank inside
    resources:
        **cluster.training,
        tokens_needed=study.tokens_needed,
        watch=study.watch_json,
    params:
        recipe=study.recipe_json,
        job=study.job("train"),
    shell:
        "{resources.launch} induction train {input.corpus:q} --recipe {params.recipe:q}"
        " --tokens-needed {resources.tokens_needed} --watch {resources.watch:q} {resources.training_options}"
        " --out {output.manifest:q} --table {output.table:q} --job {params.job:q} 2> {log:q}"
