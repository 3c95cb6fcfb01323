# One rule a figure: what it reads, what it is called in the report. All else they share.
rule phase_change_figure:
    input:
        expand(
            "results/tables/curves/model={model}/part.parquet",
            model=study.figure_models,
        ),
        expand(
            "results/tables/heads/model={model}/block-{block}.parquet",
            zip,
            model=study.figure_block_models,
            block=study.figure_blocks,
        ),
        expand(
            "results/tables/phases/model={model}/part.parquet",
            model=study.figure_models,
        ),
    output:
        multiext("results/figures/{figure}", ".pdf", ".png"),
        report(
            "results/figures/{figure}.svg",
            caption="../report/phase_change.rst",
            category="Phase change",
        ),
    log:
        "results/logs/figures/{figure}.log",
    benchmark:
        "results/logs/figures/{figure}.tsv"
    wildcard_constraints:
        figure="phase_change",
    conda:
        "../../envs/cpu.yaml"
    resources:
        **cluster.light,
    params:
        study=study.name,
        job=study.job("figure"),
        counts=study.figure_counts,
    shell:
        "induction figure {wildcards.figure} --study {params.study:q}"
        " --out results/figures --job {params.job:q} 2> {log:q}"


use rule phase_change_figure as smeared_keys_figure with:
    input:
        expand(
            "results/tables/curves/model={model}/part.parquet",
            model=study.figure_models,
        ),
        expand(
            "results/tables/phases/model={model}/part.parquet",
            model=study.figure_models,
        ),
    output:
        multiext("results/figures/{figure}", ".pdf", ".png"),
        report(
            "results/figures/{figure}.svg",
            caption="../report/smeared_keys.rst",
            category="Smeared keys",
        ),
    wildcard_constraints:
        figure="smeared_keys",


use rule phase_change_figure as ablations_figure with:
    input:
        expand(
            "results/tables/curves/model={model}/part.parquet",
            model=study.figure_models,
        ),
        expand(
            "results/tables/heads/model={model}/block-{block}.parquet",
            zip,
            model=study.figure_block_models,
            block=study.figure_blocks,
        ),
        expand(
            "results/tables/phases/model={model}/part.parquet",
            model=study.figure_models,
        ),
        expand(
            "results/tables/ablations/model={model}/block-{block}.parquet",
            zip,
            model=study.figure_block_models,
            block=study.figure_blocks,
        ),
        expand(
            "results/tables/attributions/model={model}/part.parquet",
            model=study.figure_models,
        ),
        expand(
            "results/tables/set_ablations/model={model}/part.parquet",
            model=study.figure_models,
        ),
    output:
        multiext("results/figures/{figure}", ".pdf", ".png"),
        report(
            "results/figures/{figure}.svg",
            caption="../report/ablations.rst",
            category="Ablations",
        ),
    wildcard_constraints:
        figure="ablations",


use rule phase_change_figure as pca_figure with:
    input:
        expand(
            "results/tables/phases/model={model}/part.parquet",
            model=study.figure_models,
        ),
        "results/tables/pca.parquet",
    output:
        multiext("results/figures/{figure}", ".pdf", ".png"),
        report(
            "results/figures/{figure}.svg",
            caption="../report/pca.rst",
            category="PCA",
        ),
    wildcard_constraints:
        figure="pca",


use rule phase_change_figure as tokens_figure with:
    input:
        expand(
            "results/tables/repetitions/model={model}/part.parquet",
            model=study.figure_models,
        ),
        expand(
            "results/tables/passages/model={model}/part.parquet",
            model=study.figure_models,
        ),
        expand(
            "results/tables/phases/model={model}/part.parquet",
            model=study.figure_models,
        ),
    output:
        multiext("results/figures/{figure}", ".pdf", ".png"),
        report(
            "results/figures/{figure}.svg",
            caption="../report/tokens.rst",
            category="Tokens",
        ),
    wildcard_constraints:
        figure="tokens",


use rule phase_change_figure as circuits_figure with:
    input:
        expand(
            "results/tables/heads/model={model}/block-{block}.parquet",
            zip,
            model=study.figure_block_models,
            block=study.figure_blocks,
        ),
        expand(
            "results/tables/compositions/model={model}/part.parquet",
            model=study.figure_models,
        ),
    output:
        multiext("results/figures/{figure}", ".pdf", ".png"),
        report(
            "results/figures/{figure}.svg",
            caption="../report/circuits.rst",
            category="Circuits",
        ),
    wildcard_constraints:
        figure="circuits",


use rule phase_change_figure as idealised_figure with:
    input:
        expand(
            "results/tables/idealised/model={model}/part.parquet",
            model=study.figure_models,
        ),
    output:
        multiext("results/figures/{figure}", ".pdf", ".png"),
        report(
            "results/figures/{figure}.svg",
            caption="../report/idealised.rst",
            category="Idealised heads",
        ),
    wildcard_constraints:
        figure="idealised",


use rule phase_change_figure as case_studies_figure with:
    input:
        expand(
            "results/tables/heads/model={model}/block-{block}.parquet",
            zip,
            model=study.figure_block_models,
            block=study.figure_blocks,
        ),
        expand(
            "results/tables/pattern_tasks/model={model}/part.parquet",
            model=study.figure_models,
        ),
        expand(
            "results/tables/case_studies/model={model}/part.parquet",
            model=study.figure_models,
        ),
        expand(
            "results/tables/phases/model={model}/part.parquet",
            model=study.figure_models,
        ),
    output:
        multiext("results/figures/{figure}", ".pdf", ".png"),
        report(
            "results/figures/{figure}.svg",
            caption="../report/case_studies.rst",
            category="Case studies",
        ),
    wildcard_constraints:
        figure="case_studies",


use rule phase_change_figure as heat_maps_figure with:
    input:
        expand(
            "results/tables/curves/model={model}/part.parquet",
            model=study.figure_models,
        ),
        expand(
            "results/tables/phases/model={model}/part.parquet",
            model=study.figure_models,
        ),
    output:
        multiext("results/figures/{figure}", ".pdf", ".png"),
        report(
            "results/figures/{figure}.svg",
            caption="../report/heat_maps.rst",
            category="Phase change",
        ),
    wildcard_constraints:
        figure="heat_maps",


use rule phase_change_figure as model_analysis_figure with:
    input:
        expand(
            "results/tables/curves/model={model}/part.parquet",
            model=study.figure_models,
        ),
        expand(
            "results/tables/phases/model={model}/part.parquet",
            model=study.figure_models,
        ),
        expand(
            "results/tables/attributions/model={model}/part.parquet",
            model=study.figure_models,
        ),
        expand(
            "results/tables/heads/model={model}/block-{block}.parquet",
            zip,
            model=study.figure_block_models,
            block=study.figure_blocks,
        ),
        expand(
            "results/tables/ablations/model={model}/block-{block}.parquet",
            zip,
            model=study.figure_block_models,
            block=study.figure_blocks,
        ),
        "results/tables/pca.parquet",
    output:
        multiext("results/figures/{figure}", ".pdf", ".png"),
        report(
            "results/figures/{figure}.svg",
            caption="../report/model_analysis.rst",
            category="Models",
        ),
    wildcard_constraints:
        figure="model_analysis",


use rule phase_change_figure as loss_by_index_figure with:
    input:
        expand(
            "results/tables/curves/model={model}/part.parquet",
            model=study.figure_models,
        ),
    output:
        multiext("results/figures/{figure}", ".pdf", ".png"),
        report(
            "results/figures/{figure}.svg",
            caption="../report/loss_by_index.rst",
            category="Curiosities",
        ),
    wildcard_constraints:
        figure="loss_by_index",


use rule phase_change_figure as order_inversion_figure with:
    input:
        expand(
            "results/tables/curves/model={model}/part.parquet",
            model=study.figure_models,
        ),
        expand(
            "results/tables/phases/model={model}/part.parquet",
            model=study.figure_models,
        ),
    output:
        multiext("results/figures/{figure}", ".pdf", ".png"),
        report(
            "results/figures/{figure}.svg",
            caption="../report/order_inversion.rst",
            category="Curiosities",
        ),
    wildcard_constraints:
        figure="order_inversion",


use rule phase_change_figure as head_scores_figure with:
    input:
        expand(
            "results/tables/heads/model={model}/block-{block}.parquet",
            zip,
            model=study.figure_block_models,
            block=study.figure_blocks,
        ),
        expand(
            "results/tables/periods/model={model}/part.parquet",
            model=study.figure_models,
        ),
    output:
        multiext("results/figures/{figure}", ".pdf", ".png"),
        report(
            "results/figures/{figure}.svg",
            caption="../report/head_scores.rst",
            category="Curiosities",
        ),
    wildcard_constraints:
        figure="head_scores",


use rule phase_change_figure as icl_indices_figure with:
    input:
        expand(
            "results/tables/curves/model={model}/part.parquet",
            model=study.figure_models,
        ),
        expand(
            "results/tables/phases/model={model}/part.parquet",
            model=study.figure_models,
        ),
    output:
        multiext("results/figures/{figure}", ".pdf", ".png"),
        report(
            "results/figures/{figure}.svg",
            caption="../report/icl_indices.rst",
            category="Sensitivity",
        ),
    wildcard_constraints:
        figure="icl_indices",


use rule phase_change_figure as window_rules_figure with:
    input:
        expand(
            "results/tables/window_rules/model={model}/part.parquet",
            model=study.figure_models,
        ),
    output:
        multiext("results/figures/{figure}", ".pdf", ".png"),
        report(
            "results/figures/{figure}.svg",
            caption="../report/window_rules.rst",
            category="Sensitivity",
        ),
    wildcard_constraints:
        figure="window_rules",


use rule phase_change_figure as class_thresholds_figure with:
    input:
        expand(
            "results/tables/heads/model={model}/block-{block}.parquet",
            zip,
            model=study.figure_block_models,
            block=study.figure_blocks,
        ),
        expand(
            "results/tables/ablations/model={model}/block-{block}.parquet",
            zip,
            model=study.figure_block_models,
            block=study.figure_blocks,
        ),
    output:
        multiext("results/figures/{figure}", ".pdf", ".png"),
        report(
            "results/figures/{figure}.svg",
            caption="../report/class_thresholds.rst",
            category="Sensitivity",
        ),
    wildcard_constraints:
        figure="class_thresholds",


rule model_page:
    input:
        expand(
            "results/tables/{table}/model={{model}}/part.parquet",
            table=["curves", "phases", "attributions"],
        ),
        expand(
            "results/tables/{table}/model={model}/block-{block}.parquet",
            table=["heads", "ablations"],
            model=study.this_model,
            block=study.blocks,
        ),
        "results/tables/pca.parquet",
    output:
        multiext("results/figures/models/{model}", ".pdf", ".png"),
        report(
            "results/figures/models/{model}.svg",
            caption="../report/model_page.rst",
            category="Models",
        ),
    log:
        "results/logs/figures/models/{model}.log",
    benchmark:
        "results/logs/figures/models/{model}.tsv"
    conda:
        "../../envs/cpu.yaml"
    resources:
        **cluster.light,
    params:
        study=study.name,
        job=study.job("model_page"),
        counts=study.page_counts,
    shell:
        "induction figure model_page --study {params.study:q} --model {wildcards.model:q} --out results/figures/models --job {params.job:q} 2> {log:q}"
