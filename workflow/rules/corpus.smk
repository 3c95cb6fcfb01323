rule corpus:
    input:
        study.corpus_files,
    output:
        "results/corpora/{corpus}/manifest.json",
    log:
        "results/logs/corpus/{corpus}.log",
    benchmark:
        "results/logs/corpus/{corpus}.tsv"
    priority: 2  # else it waits for two free cores until all else is done
    conda:
        "../../envs/cpu.yaml"
    threads: 2
    resources:
        **cluster.building,
    params:
        corpus=study.corpus_json,
        job=study.job("corpus"),
    shell:
        "OMP_NUM_THREADS={resources.corpus_threads} induction corpus {wildcards.corpus:q} --config {params.corpus:q} --job {params.job:q}"
        " --out {output:q} 2> {log:q}"


rule evaluation:
    input:
        "results/corpora/{corpus}/manifest.json",
    output:
        "results/corpora/{corpus}/evaluation.safetensors",
    log:
        "results/logs/evaluation/{corpus}.log",
    benchmark:
        "results/logs/evaluation/{corpus}.tsv"
    conda:
        "../../envs/cpu.yaml"
    resources:
        **cluster.light,
    params:
        settings=study.evaluation_json,
        job=study.job("evaluation"),
    shell:
        "induction evaluation {input:q} --settings {params.settings:q} --job {params.job:q}"
        " --out {output:q} 2> {log:q}"


rule probes:
    input:
        "results/corpora/{corpus}/manifest.json",
    output:
        "results/corpora/{corpus}/probes.safetensors",
    log:
        "results/logs/probes/{corpus}.log",
    benchmark:
        "results/logs/probes/{corpus}.tsv"
    conda:
        "../../envs/cpu.yaml"
    resources:
        **cluster.light,
    params:
        settings=study.probes_json,
        job=study.job("probes"),
    shell:
        "induction probes {input:q} --settings {params.settings:q} --job {params.job:q}"
        " --out {output:q} 2> {log:q}"


rule token_classes:
    input:
        corpus="results/corpora/{corpus}/manifest.json",
        evaluation="results/corpora/{corpus}/evaluation.safetensors",
    output:
        "results/corpora/{corpus}/token_classes.safetensors",
    log:
        "results/logs/token_classes/{corpus}.log",
    benchmark:
        "results/logs/token_classes/{corpus}.tsv"
    conda:
        "../../envs/cpu.yaml"
    resources:
        **cluster.light,
    params:
        settings=study.token_classes_json,
        job=study.job("token_classes"),
    shell:
        "induction token-classes {input.corpus:q} --evaluation {input.evaluation:q}"
        " --settings {params.settings:q} --job {params.job:q}"
        " --out {output:q} 2> {log:q}"


rule prompts:
    input:
        "results/corpora/{corpus}/manifest.json",
    output:
        "results/corpora/{corpus}/prompts.safetensors",
    log:
        "results/logs/prompts/{corpus}.log",
    benchmark:
        "results/logs/prompts/{corpus}.tsv"
    conda:
        "../../envs/cpu.yaml"
    resources:
        **cluster.light,
    params:
        settings=study.prompts_json,
        job=study.job("prompts"),
    shell:
        "induction prompts {input:q} --settings {params.settings:q} --job {params.job:q}"
        " --out {output:q} 2> {log:q}"
