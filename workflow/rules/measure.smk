rule losses:
    input:
        block="results/models/{model}/block-{block}.json",
        evaluation=expand(
            "results/corpora/{corpus}/evaluation.safetensors", corpus=study.corpus
        ),
    output:
        "results/tables/losses/model={model}/block-{block}.parquet",
    log:
        "results/logs/losses/{model}-{block}.log",
    benchmark:
        "results/logs/losses/{model}-{block}.tsv"
    conda:
        f"../../envs/{cluster.environment}.yaml"
    resources:
        **cluster.measuring("losses"),
    params:
        job=study.job("losses"),
    shell:
        "induction losses {input.block:q} --evaluation {input.evaluation:q} --job {params.job:q}"
        " --out {output:q} 2> {log:q}"


rule heads:
    input:
        block="results/models/{model}/block-{block}.json",
        probes=expand(
            "results/corpora/{corpus}/probes.safetensors", corpus=study.corpus
        ),
        evaluation=expand(
            "results/corpora/{corpus}/evaluation.safetensors", corpus=study.corpus
        ),
    output:
        "results/tables/heads/model={model}/block-{block}.parquet",
    log:
        "results/logs/heads/{model}-{block}.log",
    benchmark:
        "results/logs/heads/{model}-{block}.tsv"
    conda:
        f"../../envs/{cluster.environment}.yaml"
    resources:
        **cluster.measuring("heads"),
    params:
        settings=study.head_probes_json,
        job=study.job("heads"),
    shell:
        "induction heads {input.block:q} --probes {input.probes:q} --evaluation {input.evaluation:q}"
        " --settings {params.settings:q} --job {params.job:q}"
        " --out {output:q} 2> {log:q}"


rule ablations:
    input:
        block="results/models/{model}/block-{block}.json",
        evaluation=expand(
            "results/corpora/{corpus}/evaluation.safetensors", corpus=study.corpus
        ),
    output:
        "results/tables/ablations/model={model}/block-{block}.parquet",
    log:
        "results/logs/ablations/{model}-{block}.log",
    benchmark:
        "results/logs/ablations/{model}-{block}.tsv"
    conda:
        f"../../envs/{cluster.environment}.yaml"
    resources:
        **cluster.measuring("ablations"),
    params:
        settings=study.ablated_json,
        job=study.job("ablations"),
    shell:
        "induction ablations {input.block:q} --evaluation {input.evaluation:q}"
        " --settings {params.settings:q} --job {params.job:q}"
        " --out {output:q} 2> {log:q}"


rule set_ablations:
    input:
        block=expand(
            "results/models/{model}/block-{block}.json",
            model=study.this_model,
            block=study.last_block,
        ),
        evaluation=expand(
            "results/corpora/{corpus}/evaluation.safetensors", corpus=study.corpus
        ),
        heads=expand(
            "results/tables/heads/model={model}/block-{block}.parquet",
            model=study.this_model,
            block=study.last_block,
        ),
    output:
        "results/tables/set_ablations/model={model}/part.parquet",
    log:
        "results/logs/set_ablations/{model}.log",
    benchmark:
        "results/logs/set_ablations/{model}.tsv"
    conda:
        f"../../envs/{cluster.environment}.yaml"
    resources:
        **cluster.measuring("last snapshot"),
    params:
        settings=study.set_ablated_json,
        job=study.job("set_ablations"),
    shell:
        "induction set-ablations {input.block:q} --evaluation {input.evaluation:q} --heads {input.heads:q}"
        " --settings {params.settings:q} --job {params.job:q}"
        " --out {output:q} 2> {log:q}"


rule idealised:
    input:
        block=expand(
            "results/models/{model}/block-{block}.json",
            model=study.this_model,
            block=study.last_block,
        ),
        evaluation=expand(
            "results/corpora/{corpus}/evaluation.safetensors", corpus=study.corpus
        ),
        heads=expand(
            "results/tables/heads/model={model}/block-{block}.parquet",
            model=study.this_model,
            block=study.last_block,
        ),
    output:
        "results/tables/idealised/model={model}/part.parquet",
    log:
        "results/logs/idealised/{model}.log",
    benchmark:
        "results/logs/idealised/{model}.tsv"
    conda:
        f"../../envs/{cluster.environment}.yaml"
    resources:
        **cluster.measuring("last snapshot"),
    params:
        settings=study.idealised_json,
        job=study.job("idealised"),
    shell:
        "induction idealised {input.block:q} --evaluation {input.evaluation:q} --heads {input.heads:q}"
        " --settings {params.settings:q} --job {params.job:q}"
        " --out {output:q} 2> {log:q}"


rule compositions:
    input:
        block=expand(
            "results/models/{model}/block-{block}.json",
            model=study.this_model,
            block=study.last_block,
        ),
    output:
        "results/tables/compositions/model={model}/part.parquet",
    log:
        "results/logs/compositions/{model}.log",
    benchmark:
        "results/logs/compositions/{model}.tsv"
    conda:
        f"../../envs/{cluster.environment}.yaml"
    resources:
        **cluster.measuring("last snapshot"),
    params:
        job=study.job("compositions"),
    shell:
        "induction compositions {input.block:q} --job {params.job:q}"
        " --out {output:q} 2> {log:q}"


rule periods:
    input:
        block=expand(
            "results/models/{model}/block-{block}.json",
            model=study.this_model,
            block=study.last_block,
        ),
        probes=expand(
            "results/corpora/{corpus}/probes.safetensors", corpus=study.corpus
        ),
        corpus=expand("results/corpora/{corpus}/manifest.json", corpus=study.corpus),
    output:
        "results/tables/periods/model={model}/part.parquet",
    log:
        "results/logs/periods/{model}.log",
    benchmark:
        "results/logs/periods/{model}.tsv"
    conda:
        f"../../envs/{cluster.environment}.yaml"
    resources:
        **cluster.measuring("last snapshot"),
    params:
        settings=study.periods_json,
        job=study.job("periods"),
    shell:
        "induction periods {input.block:q} --probes {input.probes:q} --corpus {input.corpus:q}"
        " --settings {params.settings:q} --job {params.job:q}"
        " --out {output:q} 2> {log:q}"


rule pattern_tasks:
    input:
        block=expand(
            "results/models/{model}/block-{block}.json",
            model=study.this_model,
            block=study.last_block,
        ),
        prompts=expand(
            "results/corpora/{corpus}/prompts.safetensors", corpus=study.corpus
        ),
    output:
        "results/tables/pattern_tasks/model={model}/part.parquet",
    log:
        "results/logs/pattern_tasks/{model}.log",
    benchmark:
        "results/logs/pattern_tasks/{model}.tsv"
    conda:
        f"../../envs/{cluster.environment}.yaml"
    resources:
        **cluster.measuring("last snapshot"),
    params:
        job=study.job("pattern_tasks"),
    shell:
        "induction pattern-tasks {input.block:q} --prompts {input.prompts:q} --job {params.job:q}"
        " --out {output:q} 2> {log:q}"


rule case_studies:
    input:
        block=expand(
            "results/models/{model}/block-{block}.json",
            model=study.this_model,
            block=study.last_block,
        ),
        evaluation=expand(
            "results/corpora/{corpus}/evaluation.safetensors", corpus=study.corpus
        ),
        token_classes=expand(
            "results/corpora/{corpus}/token_classes.safetensors", corpus=study.corpus
        ),
        heads=expand(
            "results/tables/heads/model={model}/block-{block}.parquet",
            model=study.this_model,
            block=study.last_block,
        ),
    output:
        "results/tables/case_studies/model={model}/part.parquet",
    log:
        "results/logs/case_studies/{model}.log",
    benchmark:
        "results/logs/case_studies/{model}.tsv"
    conda:
        f"../../envs/{cluster.environment}.yaml"
    resources:
        **cluster.measuring("last snapshot"),
    params:
        settings=study.case_studies_json,
        job=study.job("case_studies"),
    shell:
        "induction case-studies {input.block:q} --evaluation {input.evaluation:q} --token-classes {input.token_classes:q}"
        " --heads {input.heads:q} --settings {params.settings:q} --job {params.job:q}"
        " --out {output:q} 2> {log:q}"
