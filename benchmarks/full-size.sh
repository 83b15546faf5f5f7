#!/usr/bin/env bash
# Measures again what docs/benchmarks.md says: every part below, or those that are named,
# each into files of benchmarks/results. `make bench` runs it; two cores take about an hour.
# Afterwards `make numbers` puts the results into the documents.
set -euo pipefail
cd "$(dirname "$0")/.."

work=.build/bench
results=${RESULTS:-benchmarks/results}
weights=(--ir-weights $work/weights/setting1_ir.pth --router-weights $work/weights/setting1_router.pth)
all=(build latency fp32 accuracy restorer sizes small throughput large)
export PATH="$PWD/.venv/bin:$PATH" LORAIR_CACHE="$work/cache"
mkdir -p $work "$results"

bench() { local name=$1; shift; echo "== $name" >&2; lorair-bench "$@" --report "$results/$name.json"; }

# Random weights of exactly the released shapes: time does not depend on their values.
synth() { test -d $work/weights || lorair-export synth --preset setting1 -o $work/weights; }

build() {  # the full size in three precisions: time, memory, size
  synth
  rm -rf $work/fp32 $work/int8 $work/fp16
  bench build-setting1-cpu2 commands --rounds 1 \
    --size-of $work/fp32 --size-of $work/int8 --size-of $work/fp16 \
    "lorair-export build ${weights[*]} --fp32 -o $work/fp32" \
    "lorair-export build ${weights[*]} --router-int8 -o $work/int8" \
    "lorair-export build ${weights[*]} --fp16 -o $work/fp16"
}

latency() {  # file to file beside the released code's way; the first runs' cache is empty
  rm -rf $work/cache
  bench latency-setting1-int8-cpu2 latency --bundle $work/int8 "${weights[@]}" \
    --backend torch-eager --backend onnxruntime --backend openvino --backend openvino-bf16 \
    --size 256x256 --size 512x512 --iterations 6 --cold 2
}

fp32() {  # the same with the router in float32
  bench latency-setting1-fp32-cpu2 latency --bundle $work/fp32 \
    --backend onnxruntime --backend openvino --backend openvino-bf16 \
    --size 256x256 --size 512x512 --iterations 6
}

accuracy() {  # every precision and backend: the 8-bit picture against fp32 on ONNX Runtime
  bench accuracy-setting1-cpu2 latency --reuse-route --size 512x512 --iterations 3 \
    --bundle $work/fp32 --bundle $work/int8 --bundle $work/fp16 \
    --backend onnxruntime --backend openvino --backend openvino-bf16 \
    --budget-ms 60000 --min-psnr 40
}

restorer() {  # the restoration network by itself
  bench restorer-setting1-cpu2 latency --bundle $work/int8 "${weights[@]}" --reuse-route \
    --backend torch-eager --backend onnxruntime --backend openvino --backend openvino-bf16 \
    --size 256x256 --size 512x512 --iterations 9
}

sizes() {  # larger pictures; at 2048x2048 each backend alone, together they need 40 GB
  bench restorer-sizes-setting1-cpu2 latency --bundle $work/int8 --reuse-route \
    --backend onnxruntime --backend openvino --backend openvino-bf16 \
    --size 256x256 --size 512x512 --size 1024x1024 --iterations 3
  for backend in onnxruntime openvino openvino-bf16; do
    bench restorer-2048-setting1-$backend-cpu2 latency --bundle $work/int8 --reuse-route \
      --backend $backend --size 2048x2048 --iterations 1
  done
}

small() {  # whole commands with the small models
  lorair-export synth --preset tiny -o $work/weights-tiny
  rm -rf $work/tiny $work/default
  bench build-small-cpu2 commands --rounds 3 \
    "sh -c 'rm -rf $work/tiny; lorair-export build --ir-weights $work/weights-tiny/tiny_ir.pth --router-weights $work/weights-tiny/tiny_router.pth -o $work/tiny'" \
    "sh -c 'rm -rf $work/default; lorair-export build -o $work/default'"
  bench small-cpu2 commands --rounds 9 \
    "lorair-run infer exporter/photos/astronaut.jpg --overwrite --bundle $work/tiny -o $work/out.png" \
    "lorair-run infer exporter/photos/astronaut.jpg --overwrite --bundle $work/default -o $work/out.png" \
    "lorair-run --help" "lorair-export --help" "lorair-bench --help"
}

throughput() {  # a folder, one picture and two at a time
  for backend in onnxruntime openvino; do
    bench throughput-default-$backend-cpu2 throughput --bundle $work/default \
      --backend $backend --images $work/photos --jobs 1 --jobs 2 --rounds 7
  done
}

for part in "${@:-${all[@]}}"; do "$part"; done
