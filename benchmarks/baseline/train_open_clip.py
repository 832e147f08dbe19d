"""Trains a CLIP with open_clip's own classes on webdataset shards: the Python side of the comparison.

Model, picture transform, tokenizer, loss, parameter groups, schedule and clamp are those of open_clip_torch 3.3.0; the
flags carry open_clip's names. Only feeding differs: the shards fit in memory, so pictures are decoded once, and each
batch is augmented by threads. open_clip's data loader with worker processes would cost time and teach nothing here.

  pip install open_clip_torch==3.3.0 torch==2.11.0
  python train_open_clip.py --model ../../clip/tower/configs/emoji-64.json --train-data '../../build/emoji/train-*.tar' \
      --val-data '../../data/openmoji-eval-*.tar' --demo ../../data/demo --logs ../../build/logs/baseline
"""

import argparse
import json
import math
import os
import pathlib
import random
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import open_clip
import torch
from open_clip.transform import AugmentationCfg, image_transform
from open_clip_train.scheduler import cosine_lr

import evaluate
import samples


def parse() -> argparse.Namespace:
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--model", type=pathlib.Path, required=True, help="open_clip JSON config")
    ap.add_argument("--train-data", required=True, help="glob of webdataset tars")
    ap.add_argument("--val-data", required=True, help="glob of webdataset tars")
    ap.add_argument("--demo", type=pathlib.Path, required=True, help="folder with dog.png and racing_car.png")
    ap.add_argument("--logs", type=pathlib.Path, required=True)
    ap.add_argument("--batch-size", type=int, default=256)
    ap.add_argument("--epochs", type=int, default=16)
    ap.add_argument("--steps", type=int, default=0, help="stop after this many steps; the schedule still spans the epochs")
    ap.add_argument("--lr", type=float, default=1e-3)
    ap.add_argument("--beta1", type=float, default=0.9)
    ap.add_argument("--beta2", type=float, default=0.98)
    ap.add_argument("--eps", type=float, default=1e-6)
    ap.add_argument("--wd", type=float, default=0.2)
    ap.add_argument("--warmup", type=int, default=100)
    ap.add_argument("--grad-clip-norm", type=float, default=1.0)
    ap.add_argument("--aug-scale", type=float, nargs=2, default=(0.5, 1.0))
    ap.add_argument("--aug-color-jitter", type=float, nargs=4, default=(0.4, 0.4, 0.4, 0.1))
    ap.add_argument("--aug-color-jitter-prob", type=float, default=0.8)
    ap.add_argument("--aug-gray-scale-prob", type=float, default=0.2)
    ap.add_argument("--precision", choices=("fp32", "amp_bf16"), default="fp32")
    ap.add_argument("--device", default="cpu")
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--seed", type=int, default=0)
    ap.add_argument("--eval-every", type=int, default=200)
    return ap.parse_args()


def parameter_groups(model: torch.nn.Module, wd: float) -> list[dict]:
    """open_clip 3.3.0's rule (main.py): no decay for gains, biases and the temperature."""
    def excluded(n, p):
        return p.ndim < 2 or "bn" in n or "ln" in n or "bias" in n or "logit_scale" in n
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    return [{"params": [p for n, p in named if excluded(n, p)], "weight_decay": 0.0},
            {"params": [p for n, p in named if not excluded(n, p)], "weight_decay": wd}]


def main() -> None:
    args = parse()
    torch.set_num_threads(args.threads)
    random.seed(args.seed)
    np.random.seed(args.seed)
    torch.manual_seed(args.seed)
    args.logs.mkdir(parents=True, exist_ok=True)

    config = json.loads(args.model.read_text())
    model = open_clip.CLIP(**config).to(args.device)
    augment = image_transform(config["vision_cfg"]["image_size"], is_train=True, aug_cfg=AugmentationCfg(
        scale=tuple(args.aug_scale), color_jitter=tuple(args.aug_color_jitter),
        color_jitter_prob=args.aug_color_jitter_prob, gray_scale_prob=args.aug_gray_scale_prob))
    plain = image_transform(config["vision_cfg"]["image_size"], is_train=False)
    tokenizer = open_clip.SimpleTokenizer(context_length=config["text_cfg"]["context_length"])
    loss_fn = open_clip.ClipLoss()

    train = samples.load(args.train_data)
    tokens = tokenizer([s.text for s in train])
    exam = evaluate.Exam(samples.load(args.val_data), args.demo, plain, tokenizer, args.device)
    per_epoch = len(train) // args.batch_size
    total = per_epoch * args.epochs
    optimizer = torch.optim.AdamW(parameter_groups(model, args.wd), lr=args.lr, betas=(args.beta1, args.beta2), eps=args.eps)
    schedule = cosine_lr(optimizer, args.lr, args.warmup, total)
    print(f"{len(train)} samples, {per_epoch} steps an epoch, {total} steps, "
          f"{sum(p.numel() for p in model.parameters())} parameters", flush=True)

    log = open(args.logs / "metrics.jsonl", "w")
    step, began = 0, time.time()
    with ThreadPoolExecutor(max(1, args.threads)) as pool:
        for epoch in range(args.epochs):
            order = torch.randperm(len(train)).tolist()
            for at in range(per_epoch):
                started = time.time()
                rows = order[at * args.batch_size:(at + 1) * args.batch_size]
                images = torch.stack(list(pool.map(lambda i: augment(train[i].image), rows))).to(args.device)
                texts = tokens[rows].to(args.device)
                data_time = time.time() - started
                schedule(step)
                model.train()
                optimizer.zero_grad()
                with torch.autocast(args.device, torch.bfloat16, enabled=args.precision == "amp_bf16"):
                    image_features, text_features, scale = model(images, texts)
                    loss = loss_fn(image_features, text_features, scale)
                loss.backward()
                norm = torch.nn.utils.clip_grad_norm_(model.parameters(), args.grad_clip_norm, norm_type=2.0)
                optimizer.step()
                with torch.no_grad():
                    model.logit_scale.clamp_(0, math.log(100))
                step += 1
                row = {"step": step, "epoch": epoch, "loss": loss.item(), "lr": optimizer.param_groups[0]["lr"],
                       "scale": scale.item(), "grad_norm": norm.item(), "data_s": data_time,
                       "step_s": time.time() - started, "elapsed_s": time.time() - began}
                last = step == total or step == args.steps
                if last or step % args.eval_every == 0:
                    row["eval"] = exam.run(model)
                    torch.save({"step": step, "state_dict": model.state_dict()}, args.logs / "latest.pt.part")
                    os.replace(args.logs / "latest.pt.part", args.logs / "latest.pt")
                log.write(json.dumps(row) + "\n")
                log.flush()
                if step % 10 == 0 or "eval" in row:
                    print(json.dumps(row), flush=True)
                if last:
                    return


if __name__ == "__main__":
    main()
