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
            table=["case_studies", "curves", "phases"],
            model=study.models,
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
        content=study.report_json,
        code=study.code_digest("induction.report.stage"),
    shell:
        "induction report --content {params.content:q} --figures {input.figures:q} --captions {input.captions:q}"
        " --pages {input.pages:q} --page-caption {input.page_caption:q} --claims {input.claims:q} --orders {input.orders:q}"
        " --tables {input.tables:q} {input.heads:q} {input.pca:q} --manifests {input.manifests:q}"
        " --out {output:q} 2> {log:q}"
