#!/usr/bin/env bash
# Fine-tunes the built-in model on the demo's emoji, scores two images of a vendor it never saw, and writes a report.
# `make demo` calls it after the build. Exit status: 0 the images were told apart, 1 not, with the reason.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
run=logs/demo
rm -rf "$run"

echo "== fine-tuning the built-in model on $(tar tf data/emoji-demo.tar | grep -c 'png$') emoji =="
bin/train --model models/emoji-64 --train-data data/emoji-demo.tar --val-data 'data/openmoji-eval-{00000..00001}.tar' \
  --batch-size 128 --epochs 8 --lr 2e-4 --wd 0.2 --warmup 10 --grad-clip-norm 1 --workers 2 --force-patch-dropout 0.5 \
  --val-frequency 8 --save-frequency 0 --log-every-n-steps 10 --logs logs --name demo

echo
echo "== two images of OpenMoji, which training never saw =="
score=(bin/infer score --model "$run/checkpoints/latest" --image data/demo/dog.png --image data/demo/racing_car.png
  --text "A cute dog" --text "A fast car")
"${score[@]}"
"${score[@]}" --format csv >"$run/score.csv"
bin/infer report --run "$run" --scores "$run/score.csv" --out "$run/report.html"

# Rows: dog and dog, dog and car, car and dog, car and car.
awk -F, 'NR == 2 && $4 < 0.8 { bad = 1 } NR == 5 && $4 < 0.8 { bad = 1 } END { exit bad || NR != 5 }' "$run/score.csv" || {
  echo "demo: a probability on the right side is below 0.8" >&2
  exit 1
}
echo
echo "The report with the images, the matrix and the curve: $run/report.html"
