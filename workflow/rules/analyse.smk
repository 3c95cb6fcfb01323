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
        "results/tables/curves/model={model}/part.parquet",
    log:
        "results/logs/curves/{model}.log",
    benchmark:
        "results/logs/curves/{model}.tsv"
    conda:
        "../../envs/cpu.yaml"
    params:
        settings=study.curves_json,
        code=study.code_digest("induction.analyse.curves"),
    shell:
        "induction curves --losses {input.losses:q} --heads {input.heads:q} --evaluation {input.evaluation:q}"
        " --settings {params.settings:q} --out {output:q} 2> {log:q}"


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
        "results/tables/phases/model={model}/part.parquet",
    log:
        "results/logs/phases/{model}.log",
    benchmark:
        "results/logs/phases/{model}.tsv"
    conda:
        "../../envs/cpu.yaml"
    params:
        settings=study.phases_json,
        code=study.code_digest("induction.analyse.phases"),
    shell:
        "induction phases --losses {input.losses:q} --heads {input.heads:q} --evaluation {input.evaluation:q}"
        " --settings {params.settings:q} --out {output:q} 2> {log:q}"


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
    params:
        settings=study.attributions_json,
        code=study.code_digest("induction.analyse.attributions"),
    shell:
        "induction attributions --ablations {input.ablations:q} --losses {input.losses:q} --phases {input.phases:q}"
        " --evaluation {input.evaluation:q} --settings {params.settings:q} --out {output:q} 2> {log:q}"


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
    params:
        settings=study.repetitions_json,
        code=study.code_digest("induction.analyse.repetitions"),
    shell:
        "induction repetitions --losses {input.losses:q} --phases {input.phases:q} --token-classes {input.token_classes:q}"
        " --settings {params.settings:q} --out {output:q} 2> {log:q}"


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
    params:
        code=study.code_digest("induction.analyse.passages"),
    shell:
        "induction passages --losses {input.losses:q} --phases {input.phases:q} --evaluation {input.evaluation:q}"
        " --token-classes {input.token_classes:q} --out {output:q} 2> {log:q}"


rule pca:
    input:
        losses=expand(
            "results/tables/losses/model={model}/block-{block}.parquet",
            zip,
            **study.pca_parts,
        ),
        evaluation=expand(
            "results/corpora/{corpus}/evaluation.safetensors", corpus=study.main_corpus
        ),
    output:
        "results/tables/pca.parquet",
    log:
        "results/logs/pca.log",
    benchmark:
        "results/logs/pca.tsv"
    conda:
        "../../envs/cpu.yaml"
    params:
        code=study.code_digest("induction.analyse.pca"),
    shell:
        "induction pca --losses {input.losses:q} --evaluation {input.evaluation:q} --out {output:q} 2> {log:q}"
