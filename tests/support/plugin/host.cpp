// Plays TensorRT for a library of plugins: from a node of a parsed graph to its launches.
//
//     host LIBRARY THREADS VERSION < nodes
//
// A node is a line of words: operator, scale, tactic, the kind of x, the number of inputs,
// of each its address, its number of sides and the sides, then the addresses of the outputs
// and of the workspace. Every thread plays all nodes, in a stream of its own number. What is
// found out is said on stdout with the thread's number, where the recording driver says what
// it is asked.
#include <NvInferRuntime.h>
#include <dlfcn.h>

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <iostream>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <tuple>
#include <unistd.h>
#include <vector>

using namespace nvinfer1;

namespace {

int32_t gVersion = 0;
thread_local int tStream = 0;

__attribute__((format(printf, 1, 2))) void say(char const* format, ...) {
    char line[1024];
    va_list values;
    int length = std::snprintf(line, sizeof line, "%d ", gettid());
    va_start(values, format);
    length += std::vsnprintf(line + length, sizeof line - length - 1, format, values);
    va_end(values);
    line[length] = '\n';
    if (write(1, line, length + 1) < 0)
        std::abort();
}

void require(bool holds, char const* what) {
    if (holds)
        return;
    say("wrong: %s", what);
    std::_Exit(3);
}

struct Log final : ILogger {
    void log(Severity, AsciiChar const* message) noexcept override { say("log %s", message); }
};

struct Finder final : ILoggerFinder {
    Log logger;
    ILogger* findLogger() override { return &logger; }
};

// Dimensions as TensorRT has them: numbers here, but a plugin sees expressions.
struct Dimension final : IDimensionExpr, apiv::VDimensionExpr {
    int64_t value;
    explicit Dimension(int64_t n)
        : value(n) {
        mImpl = this;
    }
    bool isConstant() const override { return true; }
    int64_t getConstantValue() const override { return value; }
    bool isSizeTensor() const override { return false; }
};

struct Builder final : IExprBuilder, apiv::VExprBuilder {
    std::deque<Dimension> made;
    Builder() { mImpl = this; }
    IDimensionExpr const* constant(int64_t value) override { return &made.emplace_back(value); }
    IDimensionExpr const* operation(DimensionOperation op, IDimensionExpr const& a, IDimensionExpr const& b) override {
        require(op == DimensionOperation::kFLOOR_DIV, "an operation that these operators do not need");
        return constant(a.getConstantValue() / b.getConstantValue());
    }
    IDimensionExpr const* declareSizeTensor(int32_t, IDimensionExpr const&, IDimensionExpr const&) override {
        return nullptr;
    }
};

struct Resources final : IPluginResourceContext {
    IGpuAllocator* getGpuAllocator() const noexcept override { return nullptr; }
    IErrorRecorder* getErrorRecorder() const noexcept override { return nullptr; }
};

using Registry = std::map<std::tuple<std::string, std::string, std::string>, IPluginCreatorV3One*>;

Registry load(char const* path, Finder& finder) {
    void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    require(library != nullptr, library == nullptr ? dlerror() : "");
    reinterpret_cast<void (*)(ILoggerFinder*)>(dlsym(library, "setLoggerFinder"))(&finder);
    int32_t count = -1;
    auto* creators = reinterpret_cast<IPluginCreatorInterface* const* (*) (int32_t&)>(dlsym(library, "getCreators"))(count);
    Registry made;
    for (int32_t i = 0; i < count; ++i) {
        InterfaceInfo const info = creators[i]->getInterfaceInfo();
        require(std::strcmp(info.kind, "PLUGIN CREATOR_V3ONE") == 0, "the kind of a creator");
        auto* creator = static_cast<IPluginCreatorV3One*>(creators[i]);
        made[{creator->getPluginName(), creator->getPluginVersion(), creator->getPluginNamespace()}] = creator;
    }
    say("creators %d", count);
    return made;
}

struct Node {
    std::string name;
    float scale;
    int tactic;
    DataType type;
    std::vector<Dims> shapes;
    std::vector<void const*> inputs;
    std::vector<void*> outputs;
    void* workspace;
};

std::istream& operator>>(std::istream& in, Node& node) {
    int type = 0, inputs = 0, outputs = 0;
    uint64_t address = 0;
    if (!(in >> node.name >> node.scale >> node.tactic >> type >> inputs))
        return in;
    node.type = static_cast<DataType>(type);
    for (int i = 0; i < inputs; ++i) {
        Dims dims{};
        in >> address >> dims.nbDims;
        for (int axis = 0; axis < dims.nbDims; ++axis)
            in >> dims.d[axis];
        node.shapes.push_back(dims);
        node.inputs.push_back(reinterpret_cast<void const*>(address));
    }
    for (in >> outputs; outputs > 0; --outputs) {
        in >> address;
        node.outputs.push_back(reinterpret_cast<void*>(address));
    }
    in >> address;
    node.workspace = reinterpret_cast<void*>(address);
    return in;
}

// An engine's copy of a plugin's fields.
struct Stored {
    std::deque<std::string> names, data;
    std::vector<PluginField> fields;

    void add(char const* name, void const* bytes, PluginFieldType type, int32_t length, size_t size) {
        names.emplace_back(name);
        data.emplace_back(static_cast<char const*>(bytes), size);
        fields.push_back({names.back().c_str(), data.back().data(), type, length});
    }
    PluginFieldCollection all() const { return {static_cast<int32_t>(fields.size()), fields.data()}; }
};

// As the parser does: of the fields that the creator names, those that the node has.
Stored parsed(IPluginCreatorV3One& creator, Node const& node) {
    static int32_t const kOnes[] = {1, 1}, kZeros[] = {0, 0, 0, 0};
    PluginFieldCollection const& wanted = *creator.getFieldNames();
    Stored made;
    for (int32_t i = 0; i < wanted.nbFields; ++i) {
        std::string const name = wanted.fields[i].name;
        if (name == "scale")
            made.add("scale", &node.scale, PluginFieldType::kFLOAT32, 1, sizeof node.scale);
        if (name == "strides")
            made.add("strides", kOnes, PluginFieldType::kINT32, 2, sizeof kOnes);
        if (name == "pads")
            made.add("pads", kZeros, PluginFieldType::kINT32, 4, sizeof kZeros);
        if (name == "group")
            made.add("group", kOnes, PluginFieldType::kINT32, 1, sizeof kOnes[0]);
    }
    return made;
}

template <typename T>
T& capability(IPluginV3& plugin, PluginCapabilityType type, char const* kind) {
    IPluginCapability* found = plugin.getCapabilityInterface(type);
    require(found != nullptr && std::strcmp(found->getInterfaceInfo().kind, kind) == 0, kind);
    return *static_cast<T*>(found);
}

IPluginV3OneBuild& toBuild(IPluginV3& plugin) {
    return capability<IPluginV3OneBuild>(plugin, PluginCapabilityType::kBUILD, "PLUGIN_V3ONE_BUILD");
}

IPluginV3OneRuntime& toRun(IPluginV3& plugin) {
    return capability<IPluginV3OneRuntime>(plugin, PluginCapabilityType::kRUNTIME, "PLUGIN_V3ONE_RUNTIME");
}

// Shapes, types, formats, tactics and workspace, as at an engine's build.
std::vector<Dims> build(IPluginV3OneBuild& plugin, Node const& node) {
    int32_t const nbIn = static_cast<int32_t>(node.inputs.size()), nbOut = plugin.getNbOutputs();
    require(nbOut == static_cast<int32_t>(node.outputs.size()), "the number of outputs");
    Builder builder;
    std::vector<DimsExprs> symbols(nbIn), results(nbOut);
    for (int32_t i = 0; i < nbIn; ++i) {
        symbols[i].nbDims = node.shapes[i].nbDims;
        for (int axis = 0; axis < symbols[i].nbDims; ++axis)
            symbols[i].d[axis] = builder.constant(node.shapes[i].d[axis]);
    }
    require(plugin.getOutputShapes(symbols.data(), nbIn, nullptr, 0, results.data(), nbOut, builder) == 0, "shapes");
    std::vector<Dims> shapes(nbOut);
    for (int32_t i = 0; i < nbOut; ++i) {
        std::ostringstream line;
        shapes[i].nbDims = results[i].nbDims;
        for (int axis = 0; axis < results[i].nbDims; ++axis)
            line << ' ' << (shapes[i].d[axis] = results[i].d[axis]->getConstantValue());
        say("shape %s", line.str().c_str());
    }
    std::vector<DataType> types(nbIn, node.type), made(nbOut, DataType::kBOOL);
    require(plugin.getOutputDataTypes(made.data(), nbOut, types.data(), nbIn) == 0, "types");
    for (DataType type : made)
        require(type == node.type, "an output's type is x's");
    // What it takes at each place, the others being right: kinds of numbers, and other formats.
    std::vector<DynamicPluginTensorDesc> all(nbIn + nbOut);
    for (int32_t i = 0; i < nbIn + nbOut; ++i) {
        Dims const& dims = i < nbIn ? node.shapes[i] : shapes[i - nbIn];
        all[i] = {{dims, node.type, TensorFormat::kLINEAR, 1.F}, dims, dims, dims};
    }
    for (int32_t i = 0; i < nbIn + nbOut; ++i) {
        std::ostringstream line;
        PluginTensorDesc const right = all[i].desc;
        for (DataType type : {DataType::kFLOAT, DataType::kHALF, DataType::kINT8, DataType::kBF16})
            for (TensorFormat format : {TensorFormat::kLINEAR, TensorFormat::kCHW32, TensorFormat::kHWC8}) {
                all[i].desc.type = type;
                all[i].desc.format = format;
                if (plugin.supportsFormatCombination(i, all.data(), nbIn, nbOut))
                    line << ' ' << static_cast<int>(type) << '/' << static_cast<int>(format);
            }
        all[i].desc = right;
        say("takes %d%s", i, line.str().c_str());
    }
    say("early %d", plugin.getNbTactics());
    require(plugin.configurePlugin(all.data(), nbIn, all.data() + nbIn, nbOut) == 0, "configuring");
    std::vector<int32_t> tactics(plugin.getNbTactics());
    require(plugin.getValidTactics(tactics.data(), static_cast<int32_t>(tactics.size())) == 0, "tactics");
    std::ostringstream line;
    for (int32_t tactic : tactics)
        line << ' ' << tactic;
    say("tactics%s", line.str().c_str());
    say("timing %s", plugin.getTimingCacheID());
    say("workspace %zu", plugin.getWorkspaceSize(all.data(), nbIn, all.data() + nbIn, nbOut));
    return shapes;
}

std::unique_ptr<IPluginV3> created(IPluginCreatorV3One& creator, Stored const& stored, TensorRTPhase phase) {
    PluginFieldCollection const fields = stored.all();
    return std::unique_ptr<IPluginV3>(creator.createPlugin("a node", &fields, phase));
}

Stored serialized(IPluginV3& plugin) {
    Stored made;
    PluginFieldCollection const& fields = *toRun(plugin).getFieldsToSerialize();
    for (int32_t i = 0; i < fields.nbFields; ++i) {
        PluginField const& field = fields.fields[i];
        size_t const size = field.type == PluginFieldType::kFLOAT32 ? 4 : 1;
        made.add(field.name, field.data, field.type, field.length, size * field.length);
    }
    return made;
}

// An execution context at other shapes, at these, and once more through a clone.
void run(IPluginV3& plugin, Node const& node, std::vector<Dims> const& results) {
    Resources resources;
    std::unique_ptr<IPluginV3> attached(toRun(plugin).attachToContext(&resources));
    if (attached == nullptr)
        return say("not attached");
    IPluginV3OneRuntime& runs = toRun(*attached);
    auto change = [&](int64_t rows) {
        std::vector<PluginTensorDesc> in, out;
        for (Dims dims : node.shapes) {
            if (dims.nbDims == 4 && dims.d[2] > 1)
                dims.d[2] *= rows;
            in.push_back({dims, node.type, TensorFormat::kLINEAR, 1.F});
        }
        for (Dims const& dims : results)
            out.push_back({dims, node.type, TensorFormat::kLINEAR, 1.F});
        return runs.onShapeChange(in.data(), static_cast<int32_t>(in.size()), out.data(), static_cast<int32_t>(out.size()));
    };
    int const other = change(3), tactic = runs.setTactic(node.tactic), same = change(1);
    say("ready %d %d %d", other, tactic, same);
    auto enqueue = [&](IPluginV3& one) {
        auto* stream = reinterpret_cast<cudaStream_t>(static_cast<uintptr_t>(tStream));
        say("enqueue");
        int const done = toRun(one).enqueue(nullptr, nullptr, node.inputs.data(), node.outputs.data(), node.workspace, stream);
        say("done %d", done);
    };
    enqueue(*attached);
    std::unique_ptr<IPluginV3> copy(attached->clone());
    attached.reset();
    enqueue(*copy);
}

void play(Registry const& registry, Node const& node) {
    say("node %s", node.name.c_str());
    auto found = registry.find({node.name, "1", "lorair"});
    require(found != registry.end(), "a creator of this name");
    IPluginCreatorV3One& creator = *found->second;
    std::unique_ptr<IPluginV3> plugin = created(creator, parsed(creator, node), TensorRTPhase::kBUILD);
    require(plugin != nullptr, "a plugin of the parsed node");
    auto& core = capability<IPluginV3OneCore>(*plugin, PluginCapabilityType::kCORE, "PLUGIN_V3ONE_CORE");
    require(node.name == core.getPluginName() && !std::strcmp(core.getPluginNamespace(), "lorair")
            && !std::strcmp(core.getPluginVersion(), "1"),
        "its names");
    std::vector<Dims> const results = build(toBuild(*plugin), node);
    std::unique_ptr<IPluginV3> copy(plugin->clone());
    plugin.reset();
    Stored const stored = serialized(*copy);
    copy.reset();
    std::unique_ptr<IPluginV3> again = created(creator, stored, TensorRTPhase::kRUNTIME);
    require(again != nullptr, "a plugin of an engine");
    run(*again, node, results);
    Stored other = stored;
    for (std::string& bytes : other.data)
        if (bytes.size() > 8)
            bytes[0] = '?';
    for (size_t i = 0; i < other.fields.size(); ++i)
        other.fields[i] = {other.names[i].c_str(), other.data[i].data(), other.fields[i].type, other.fields[i].length};
    require(created(creator, other, TensorRTPhase::kRUNTIME) == nullptr, "an engine of other kernels is refused");
}

} // namespace

// What the library asks of the TensorRT that it is in.

extern "C" int32_t getInferLibVersion() noexcept {
    return gVersion;
}

#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

struct ProcessRegistry final : IPluginRegistry {
    bool registerCreator(IPluginCreator&, AsciiChar const*) noexcept override { return false; }
    bool registerCreator(IPluginCreatorInterface& creator, AsciiChar const* space) noexcept override {
        say("registered %s in %s", static_cast<IPluginCreatorV3One&>(creator).getPluginName(), space);
        return true;
    }
    IPluginCreator* const* getPluginCreatorList(int32_t*) const noexcept override { return nullptr; }
    IPluginCreator* getPluginCreator(AsciiChar const*, AsciiChar const*, AsciiChar const*) noexcept override {
        return nullptr;
    }
    void setErrorRecorder(IErrorRecorder*) noexcept override {}
    IErrorRecorder* getErrorRecorder() const noexcept override { return nullptr; }
    bool deregisterCreator(IPluginCreator const&) noexcept override { return false; }
    bool deregisterCreator(IPluginCreatorInterface const&) noexcept override { return false; }
    bool isParentSearchEnabled() const override { return false; }
    void setParentSearchEnabled(bool) override {}
    PluginLibraryHandle loadLibrary(AsciiChar const*) noexcept override { return nullptr; }
    void deregisterLibrary(PluginLibraryHandle) noexcept override {}
    IPluginCreatorInterface* const* getAllCreators(int32_t*) const noexcept override { return nullptr; }
    IPluginCreatorInterface* const* getAllCreatorsRecursive(int32_t*) noexcept override { return nullptr; }
    IPluginCreatorInterface* getCreator(AsciiChar const*, AsciiChar const*, AsciiChar const*) noexcept override {
        return nullptr;
    }
    IPluginResource* acquirePluginResource(AsciiChar const*, IPluginResource*) noexcept override { return nullptr; }
    int32_t releasePluginResource(AsciiChar const*) noexcept override { return 0; }
};

extern "C" IPluginRegistry* getPluginRegistry() noexcept {
    static ProcessRegistry registry;
    return &registry;
}

int main(int, char** argv) {
    gVersion = std::atoi(argv[3]);
    Finder finder;
    Registry const registry = load(argv[1], finder);
    std::vector<Node> nodes;
    for (Node node; std::cin >> node; node = {})
        nodes.push_back(node);
    std::vector<std::thread> threads;
    for (int stream = 1; stream <= std::atoi(argv[2]); ++stream)
        threads.emplace_back([&, stream] {
            tStream = stream;
            for (Node const& node : nodes)
                play(registry, node);
        });
    for (std::thread& thread : threads)
        thread.join();
}
