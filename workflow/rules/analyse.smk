rule curves:
    input:
        losses=expand(
            "results/tables/losses/model={model}/block-{block}.parquet",
            model=study.this_model,
            block=study.blocks,
        ),
        heads=expand(
            "results/tables/heads/model={model}/block-{block}.parquet",
            model=study.this_model,
            block=study.blocks,
        ),
        evaluation=expand(
            "results/corpora/{corpus}/evaluation.safetensors", corpus=study.corpus
        ),
    output:
        curves="results/tables/curves/model={model}/part.parquet",
        replicates="results/tables/replicates/model={model}/part.parquet",
    log:
        "results/logs/curves/{model}.log",
    benchmark:
        "results/logs/curves/{model}.tsv"
    conda:
        "../../envs/cpu.yaml"
    resources:
        **cluster.reading,
    params:
        settings=study.curves_json,
        job=study.job("curves"),
    shell:
        "induction curves --losses {input.losses:q} --heads {input.heads:q} --evaluation {input.evaluation:q}"
        " --settings {params.settings:q} --out {output.curves:q} --replicates {output.replicates:q} --job {params.job:q} 2> {log:q}"


rule phases:
    input:
        losses=expand(
            "results/tables/losses/model={model}/block-{block}.parquet",
            model=study.this_model,
            block=study.blocks,
        ),
        heads=expand(
            "results/tables/heads/model={model}/block-{block}.parquet",
            model=study.this_model,
            block=study.blocks,
        ),
        evaluation=expand(
            "results/corpora/{corpus}/evaluation.safetensors", corpus=study.corpus
        ),
    output:
        phases="results/tables/phases/model={model}/part.parquet",
        onsets="results/tables/onsets/model={model}/part.parquet",
    log:
        "results/logs/phases/{model}.log",
    benchmark:
        "results/logs/phases/{model}.tsv"
    conda:
        "../../envs/cpu.yaml"
    resources:
        **cluster.reading,
    params:
        settings=study.phases_json,
        job=study.job("phases"),
    shell:
        "induction phases --losses {input.losses:q} --heads {input.heads:q} --evaluation {input.evaluation:q}"
        " --settings {params.settings:q} --out {output.phases:q} --onsets {output.onsets:q} --job {params.job:q} 2> {log:q}"


rule window_rules:
    input:
        curves="results/tables/curves/model={model}/part.parquet",
        replicates="results/tables/replicates/model={model}/part.parquet",
    output:
        "results/tables/window_rules/model={model}/part.parquet",
    log:
        "results/logs/window_rules/{model}.log",
    benchmark:
        "results/logs/window_rules/{model}.tsv"
    conda:
        "../../envs/cpu.yaml"
    resources:
        **cluster.light,
    params:
        settings=study.window_rules_json,
        job=study.job("window_rules"),
    shell:
        "induction window-rules --curves {input.curves:q} --replicates {input.replicates:q}"
        " --settings {params.settings:q} --job {params.job:q}"
        " --out {output:q} 2> {log:q}"


rule attributions:
    input:
        ablations=expand(
            "results/tables/ablations/model={model}/block-{block}.parquet",
            model=study.this_model,
            block=study.blocks,
        ),
        losses=expand(
            "results/tables/losses/model={model}/block-{block}.parquet",
            model=study.this_model,
            block=study.blocks,
        ),
        phases="results/tables/phases/model={model}/part.parquet",
        evaluation=expand(
            "results/corpora/{corpus}/evaluation.safetensors", corpus=study.corpus
        ),
    output:
        "results/tables/attributions/model={model}/part.parquet",
    log:
        "results/logs/attributions/{model}.log",
    benchmark:
        "results/logs/attributions/{model}.tsv"
    conda:
        "../../envs/cpu.yaml"
    resources:
        **cluster.reading,
    params:
        settings=study.attributions_json,
        job=study.job("attributions"),
    shell:
        "induction attributions --ablations {input.ablations:q} --losses {input.losses:q} --phases {input.phases:q}"
        " --evaluation {input.evaluation:q} --settings {params.settings:q} --job {params.job:q}"
        " --out {output:q} 2> {log:q}"


rule repetitions:
    input:
        losses=expand(
            "results/tables/losses/model={model}/block-{block}.parquet",
            model=study.this_model,
            block=study.blocks,
        ),
        phases="results/tables/phases/model={model}/part.parquet",
        token_classes=expand(
            "results/corpora/{corpus}/token_classes.safetensors", corpus=study.corpus
        ),
    output:
        "results/tables/repetitions/model={model}/part.parquet",
    log:
        "results/logs/repetitions/{model}.log",
    benchmark:
        "results/logs/repetitions/{model}.tsv"
    conda:
        "../../envs/cpu.yaml"
    resources:
        **cluster.reading,
    params:
        settings=study.repetitions_json,
        job=study.job("repetitions"),
    shell:
        "induction repetitions --losses {input.losses:q} --phases {input.phases:q} --token-classes {input.token_classes:q}"
        " --settings {params.settings:q} --job {params.job:q}"
        " --out {output:q} 2> {log:q}"


rule passages:
    input:
        losses=expand(
            "results/tables/losses/model={model}/block-{block}.parquet",
            model=study.this_model,
            block=study.blocks,
        ),
        phases="results/tables/phases/model={model}/part.parquet",
        evaluation=expand(
            "results/corpora/{corpus}/evaluation.safetensors", corpus=study.corpus
        ),
        token_classes=expand(
            "results/corpora/{corpus}/token_classes.safetensors", corpus=study.corpus
        ),
    output:
        "results/tables/passages/model={model}/part.parquet",
    log:
        "results/logs/passages/{model}.log",
    benchmark:
        "results/logs/passages/{model}.tsv"
    conda:
        "../../envs/cpu.yaml"
    resources:
        **cluster.reading,
    params:
        job=study.job("passages"),
    shell:
        "induction passages --losses {input.losses:q} --phases {input.phases:q} --evaluation {input.evaluation:q}"
        " --token-classes {input.token_classes:q} --job {params.job:q}"
        " --out {output:q} 2> {log:q}"


rule pca:
    input:
        losses=expand(
            "results/tables/losses/model={model}/block-{block}.parquet",
            zip,
            **study.parts,
        ),
        evaluation=expand(
            "results/corpora/{corpus}/evaluation.safetensors", corpus=study.corpora
        ),
    output:
        "results/tables/pca.parquet",
    log:
        "results/logs/pca.log",
    benchmark:
        "results/logs/pca.tsv"
    conda:
        "../../envs/cpu.yaml"
    resources:
        **cluster.reading,
    params:
        study=study.name,
        job=study.job("pca"),
    shell:
        "induction pca --study {params.study:q}"
        " --job {params.job:q}"
        " --out {output:q} 2> {log:q}"


rule claims:
    input:
        expand(
            "results/tables/{table}/model={model}/part.parquet",
            table=[
                "curves",
                "replicates",
                "phases",
                "onsets",
                "attributions",
                "idealised",
                "repetitions",
            ],
            model=study.models,
        ),
        expand(
            "results/tables/pattern_tasks/model={model}/part.parquet",
            model=study.models_with_abstract_task,
        ),
        expand(
            "results/tables/{table}/model={part[0]}/block-{part[1]}.parquet",
            table=["heads", "ablations"],
            part=study.last_parts,
        ),
        "results/tables/pca.parquet",
    output:
        claims="results/tables/claims.parquet",
        orders="results/tables/orders.parquet",
        people="results/claims.md",
    log:
        "results/logs/claims.log",
    benchmark:
        "results/logs/claims.tsv"
    conda:
        "../../envs/cpu.yaml"
    resources:
        **cluster.light,
    params:
        study=study.name,
        job=study.job("claims"),
    shell:
        "induction claims --study {params.study:q} --out {output.claims:q} --orders {output.orders:q}"
        " --people {output.people:q} --job {params.job:q} 2> {log:q}"
