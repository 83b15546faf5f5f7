#!/usr/bin/env bash
# Measures again what docs/benchmarks.md says: every part below, or those that are named,
# each into files of benchmarks/results. `make bench` runs it; two cores take an hour and a half.
# Afterwards `make numbers` puts the results into the documents.
set -euo pipefail
cd "$(dirname "$0")/.."

work=.build/bench
results=${RESULTS:-benchmarks/results}
weights=(--ir-weights $work/weights/setting1_ir.pth --router-weights $work/weights/setting1_router.pth)
all=(build latency accuracy small sizes throughput large tiles video verify experts serve ray install)
export PATH="$PWD/.venv/bin:$PATH" LORAIR_CACHE="$PWD/$work/cache"
mkdir -p $work "$results"

bench() { local name=$1; shift; echo "== $name" >&2; lorair-bench "$@" --report "$results/$name.json"; }

pictures() { python -m lorair.benchmarks.docs.pictures "$@"; }

weights() {  # random ones of exactly the released shapes: time does not depend on their values
  test -d $work/weights || lorair-export synth --preset setting1 -o $work/weights
}

int8() {  # the bundle that most parts time
  weights
  test -d $work/int8 || lorair-export build "${weights[@]}" --router-int8 -o $work/int8
}

build() {  # the full size in fp32 and fp16, engines, and a picture: as the README shows them
  int8
  rm -rf $work/bundle $work/fp16 $work/img.restored.png
  pictures square 512 $work/img.png
  ln -f $work/weights/*.pth $work
  local named="--ir-weights setting1_ir.pth --router-weights setting1_router.pth"
  (
    cd $work; results=../../$results
    bench build-setting1-cpu2 commands --rounds 1 \
      --size-of bundle --size-of int8 --size-of fp16 \
      "lorair-export build $named -o bundle" \
      "lorair-export build $named --fp16 -o fp16" \
      "lorair-export engine fp16 --flavour tensorrt-rtx" \
      "lorair-run infer img.png --bundle bundle"
  )
}

latency() {  # file to file beside the released code's way; the first runs' cache is empty
  rm -rf $work/cache
  bench latency-setting1-int8-cpu2 latency --bundle $work/int8 "${weights[@]}" \
    --backend torch-eager --backend onnxruntime --backend openvino --backend openvino-bf16 \
    --size 256x256 --size 512x512 --iterations 6 --cold 2
}

accuracy() {  # every precision and backend: the 8-bit picture against fp32 on ONNX Runtime
  local shared=(latency --reuse-route --size 512x512 --iterations 3 --budget-ms 60000 --min-psnr 40)
  bench accuracy-setting1-onnxruntime-cpu2 "${shared[@]}" \
    --bundle $work/bundle --bundle $work/int8 --bundle $work/fp16 --backend onnxruntime
  bench accuracy-setting1-openvino-cpu2 "${shared[@]}" \
    --bundle $work/bundle --backend openvino --backend openvino-bf16
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

sizes() {  # larger pictures
  bench sizes-default-cpu2 latency --bundle $work/default --reuse-route \
    --backend onnxruntime --backend openvino \
    --size 256x256 --size 512x512 --size 1024x1024 --size 2048x2048 --iterations 3
}

throughput() {  # a folder, one picture and two at a time
  pictures pieces $work/photos
  for backend in onnxruntime openvino; do
    bench throughput-default-$backend-cpu2 throughput --bundle $work/default \
      --backend $backend --images $work/photos --jobs 1 --jobs 2 --rounds 7
  done
}

large() {  # 100 megapixels, in tiles
  pictures square 10000 $work/large.jpg
  bench large-default-cpu2 commands --rounds 1 \
    "lorair-run infer $work/large.jpg --overwrite --bundle $work/default -o $work/large.png"
}

tiles() {  # tiled against untiled
  rm -rf $work/pairs
  python -m training.pairs --output $work/pairs --seeds 1
  bench tiles-default-cpu2 tiles --bundle $work/default --backend openvino \
    --images $work/pairs/snow/input --images $work/pairs/rain/input \
    --images $work/pairs/raindrop/input --tile 128 --tile 256 --tile 384
}

video() {  # a route reused against one for every frame
  pictures clip $work/clip.mp4
  bench video-setting1-cpu2 commands --rounds 2 \
    "lorair-run video $work/clip.mp4 --bundle $work/int8 -o $work/restored.mp4 --route-every 0" \
    "lorair-run video $work/clip.mp4 --bundle $work/int8 -o $work/restored.mp4 --route-every 1"
}

verify() {  # the backends of a bundle against its portable graphs
  mkdir -p $work/one; cp exporter/photos/chelsea.jpg $work/one
  bench verify-setting1-cpu2 commands --rounds 1 \
    "lorair-export verify $work/int8 --backend openvino --images $work/one"
}

experts() {  # what a mixture costs, and several pictures in a run
  bench experts-tiny-onnxruntime-cpu2 experts
  bench latency-batch-default-cpu2 latency --bundle $work/default --reuse-route \
    --backend onnxruntime --backend openvino --batch 1 --batch 4 \
    --size 128x128 --size 256x256 --iterations 8
}

serve() {  # the server under load, its end, hostile bodies, wrk and slow clients
  local check="python tests/support/serve_check.py"
  bench serve-check-cpu2 commands --rounds 1 \
    "$check load $work/default" "$check term $work/default" "$check fuzz $work/default"
  bench serve-slow-cpu2 commands --rounds 1 "$check wrk $work/default" "$check slow $work/default"
}

ray() {  # what Ray costs: by the slope between 240 and 480 pictures, its start left out
  local count copy picture runs=()
  for count in 10 20; do
    mkdir -p $work/pieces$count
    for copy in $(seq $count); do
      for picture in $work/photos/*.png; do
        ln -f "$picture" "$work/pieces$count/$copy-$(basename "$picture")"
      done
    done
    runs+=(
      "lorair-run infer $work/pieces$count -o $work/by-infer --overwrite --jobs 2 --bundle $work/default"
      "lorair-run batch $work/pieces$count -o $work/by-ray --overwrite --ray --num-actors 2 --bundle $work/default"
    )
  done
  bench ray-default-cpu2 commands --rounds 2 "${runs[@]}"
}

install() {  # what a machine that only restores gets
  rm -rf $work/venv
  bench install-cpu2 commands --rounds 1 --size-of $work/venv \
    "sh -c 'python3 -m venv $work/venv && $work/venv/bin/pip install -qq \".[cpu]\"'"
}

for part in "${@:-${all[@]}}"; do "$part"; done
