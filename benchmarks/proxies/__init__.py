"""Which short trainings predict the target? Rank correlation with it, and regret, against core-seconds.

`python -m benchmarks.proxies --target benchmarks/results/target_rows.jsonl --data-dir cifar10-jpeg.tar.xz` trains every
layer of the target under fifteen short protocols, on five small networks, with two seeds, and compares all choices of
networks with the target and with long trainings on the default's task. It can be stopped and repeated.
"""
