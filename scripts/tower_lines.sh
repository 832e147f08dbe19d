#!/usr/bin/env bash
# Prints how many lines of Go each family of towers needs, as the table of docs/internals/towers.md: of its files, or of the
# declarations of a shared file that name its parts, and of its entries in the tables of names.
set -euo pipefail
cd "$(dirname "$0")/.."
TOWER=clip/tower TIMM=internal/timm ENCODERS=clip/tower/config_encoder.go HF=clip/tower/config_huggingface.go

lines() { # FILE or FILE:PART, ...
  local total=0 file part
  for file in "$@"; do
    part=${file#*:}
    if [ "$part" = "$file" ]; then n=$(wc -l <"$TOWER/$file"); else n=$(awk -v RS= -v part="$part" '$0 ~ part {n += split($0, a, "\n")} END {print n + 0}' "$TOWER/${file%%:*}"); fi
    total=$((total + n))
  done
  echo "$total"
}

row() { # FAMILY, FILES, lines of the table that match PATTERN in FILE
  local shown
  shown=$(sed -E 's/([a-z0-9_]+\.go):[^ ]+/part of \1/g; s/ ?(part of )?([a-z0-9_]+\.go)/, \1`\2`/g; s/^, //' <<<"$2")
  # shellcheck disable=SC2086
  echo "| $1 | $shown | $(lines $2) | $(grep -cE "$3" "$4" || true) |"
}

echo '| family | files | lines | table |'
echo '|---|---|---|---|'
row 'ConvNeXt' 'convnext.go' 'convnext_|^type|^	[A-Z]' $TIMM/convnext.go
row 'EVA, EVA-02, Perception Encoder' 'eva.go rotary.go' 'eva0?2?_|vit_pe_|^type|^	[A-Z]' $TIMM/eva.go
row 'MobileCLIP S0 to S4 (FastViT)' 'mobileone.go fastvit.go fastvit_init.go' 'fastvit_|^type|^	[A-Z]' $TIMM/fastvit.go
row 'MobileCLIP B, MobileCLIP2 L/14' 'mobileone.go:ConvStem' '_mci_|patch14_clip|Convolutions' $TIMM/timm.go
row 'ViTamin' 'mbconv.go' 'vitamin|MBConvs' $TIMM/timm.go
row 'ViT with relative positions, with a mean' 'relative.go' 'relpos|_gap_|Relative' $TIMM/timm.go
row 'SigLIP 2 for images of any shape (NaFlex)' 'naflex.go' 'naflex|NaFlex' $TIMM/timm.go
row 'Swin' 'swin.go' 'swin_|^type|^	[A-Z]' $TIMM/swin.go
row 'BERT, Chinese-CLIP' 'config_encoder.go:bertOf' 'chinese_clip' $HF
row 'AltCLIP' 'config_encoder.go:altRoberta' 'altclip' $HF
row 'NLLB (M2M100)' 'm2m100.go' 'm2m100Of' $ENCODERS
row 'mT5' 'mt5.go' 'mt5Of' $ENCODERS
row "CoCa's decoder" 'decoder.go writing.go' 'Multimodal' $TOWER/config.go
