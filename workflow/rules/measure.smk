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
        "../../envs/cpu.yaml"
    params:
        code=study.code_digest("induction.measure.losses"),
    shell:
        "induction losses {input.block:q} --evaluation {input.evaluation:q} --out {output:q} 2> {log:q}"


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
        "../../envs/cpu.yaml"
    params:
        settings=study.head_probes_json,
        code=study.code_digest("induction.measure.heads"),
    shell:
        "induction heads {input.block:q} --probes {input.probes:q} --evaluation {input.evaluation:q}"
        " --settings {params.settings:q} --out {output:q} 2> {log:q}"


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
        "../../envs/cpu.yaml"
    params:
        settings=study.ablated_json,
        code=study.code_digest("induction.measure.ablations"),
    shell:
        "induction ablations {input.block:q} --evaluation {input.evaluation:q}"
        " --settings {params.settings:q} --out {output:q} 2> {log:q}"
