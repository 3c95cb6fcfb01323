rule report:
    input:
        figures=expand("results/figures/{figure}.svg", figure=study.figures),
        captions=expand(
            "{folder}/workflow/report/{figure}.rst",
            folder=workflow.basedir,  # where the workflow lies, whatever folder it runs in
            figure=study.figures,
        ),
        page_caption=expand(
            "{folder}/workflow/report/model_page.rst", folder=workflow.basedir
        ),
        pages=expand("results/figures/models/{model}.svg", model=study.models),
        claims="results/tables/claims.parquet",
        orders="results/tables/orders.parquet",
        tables=expand(
            "results/tables/{table}/model={model}/part.parquet",
            table=["curves", "phases"],
            model=study.models,
        ),
        case_studies=expand(
            "results/tables/case_studies/model={model}/part.parquet",
            model=study.models_with_abstract_task,
        ),
        heads=expand(
            "results/tables/heads/model={part[0]}/block-{part[1]}.parquet",
            part=study.last_parts,
        ),
        pca="results/tables/pca.parquet",
        manifests=expand("results/corpora/{corpus}/manifest.json", corpus=study.corpora),
    output:
        "results/report.html",
    log:
        "results/logs/report.log",
    benchmark:
        "results/logs/report.tsv"
    conda:
        "../../envs/cpu.yaml"
    resources:
        **cluster.light,
    params:
        study=study.name,
        job=study.job("report"),
    shell:
        "induction report --study {params.study:q} --captions {input.captions:q} --page-caption {input.page_caption:q}"
        " --job {params.job:q}"
        " --out {output:q} 2> {log:q}"
