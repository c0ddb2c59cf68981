"""Which short trainings predict a long one? Rank correlation with it, and regret, against core-seconds.

`python -m benchmarks.proxies --data-dir cifar10-jpeg.tar.xz` trains fifty layers under fifteen short protocols on small
networks, with two seeds, and compares all choices of networks with long trainings on the default's task. With `--target
benchmarks/results/target_rows.jsonl` they are compared with the target as well, and six more protocols, on its data and
networks or on the default's data, with all of its layers. It can be stopped and repeated.
"""
