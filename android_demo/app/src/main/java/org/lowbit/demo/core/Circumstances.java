package org.lowbit.demo.core;

import java.io.File;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/** The device, as far as Linux's files and the platform tell: the facts of edge/latency/devices/circumstances.py. */
final class Circumstances {
    /** Instruction sets that the kernels, or the float code around them, can use; Linux's names. */
    private static final List<String> FEATURES = Arrays.asList(
            "avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512dq", "avx512bw", "avx512vl",
            "avx512_vnni", "avx512vbmi",
            "asimd", "fphp", "asimdhp", "asimddp", "i8mm", "sve", "sve2");
    private static final File CORES = new File("/sys/devices/system/cpu");

    private final Platform platform;

    Circumstances(Platform platform) {
        this.platform = platform;
    }

    /** For the page. */
    JsonObject describe(long freeBytes) {
        DeviceReadings now = platform.readings();
        List<JsonObject> cores = new ArrayList<JsonObject>();
        for (int core : cores()) {
            Long khz = khz(core, "cpuinfo_max_freq");
            cores.add(new JsonObject().put("max_mhz", khz == null ? null : khz / 1000));
        }
        return new JsonObject()
                .put("name", name(now))
                .put("abi", machine())
                .put("cores", cores)
                .put("memory_bytes", memoryBytes())
                .put("free_bytes", freeBytes)
                .put("temperature_c", now.temperatureCelsius)
                .put("battery_percent", now.batteryPercent)
                .put("charging", now.charging)
                .put("version", now.version);
    }

    /** For a report: a DeviceRecord of edge/latency/devices/device.py. */
    JsonObject record() {
        String system = System.getProperty("os.name") + " " + System.getProperty("os.version");
        DeviceReadings now = platform.readings();
        List<Integer> cores = cores();
        Set<String> governors = new LinkedHashSet<String>();
        for (int core : cores) {
            String governor = read(new File(CORES, "cpu" + core + "/cpufreq/scaling_governor"));
            if (governor != null) governors.add(governor);
        }
        return new JsonObject()
                .put("kind", "app")
                .put("name", name(now))
                .put("cpu", cpu(now))
                .put("features", features())
                .put("cores", cores)
                .put("max_khz", highest("cpuinfo_max_freq"))
                .put("governors", governors)
                .put("memory_bytes", memoryBytes())
                .put("system", system + " " + machine());
    }

    DeviceReadings readings() {
        return platform.readings();
    }

    /** The highest frequency among the cores now; null where it is not readable. */
    Long currentKhz() {
        return highest("scaling_cur_freq");
    }

    long memoryBytes() {
        Long told = platform.readings().memoryBytes;
        if (told != null) return told;
        String total = value("/proc/meminfo", "MemTotal"); // "16318480 kB"
        return total == null ? Long.MAX_VALUE : 1024 * Long.parseLong(total.split(" ")[0]);
    }

    /** How many cores are faster than the slowest kind; all where they are of one kind, or do not tell. */
    int fastCores() {
        List<Integer> cores = cores();
        List<Long> speeds = new ArrayList<Long>();
        for (int core : cores) {
            Long khz = khz(core, "cpuinfo_max_freq");
            if (khz != null) speeds.add(khz);
        }
        long slowest = Long.MAX_VALUE;
        for (long khz : speeds) slowest = Math.min(slowest, khz);
        int faster = 0;
        for (long khz : speeds) faster += khz > slowest ? 1 : 0;
        return faster == 0 ? cores.size() : faster;
    }

    /** The cores that this process may use. */
    static List<Integer> cores() {
        String list = value("/proc/self/status", "Cpus_allowed_list"); // "0-3,6"
        List<Integer> cores = new ArrayList<Integer>();
        for (String part : (list == null ? "0" : list).split(",")) {
            String[] ends = part.trim().split("-");
            int last = Integer.parseInt(ends[ends.length - 1]);
            for (int core = Integer.parseInt(ends[0]); core <= last; ++core) cores.add(core);
        }
        return cores;
    }

    /** The name of a model on x86; elsewhere the chip, where it is known, and its types of cores by their numbers. */
    private static String cpu(DeviceReadings now) {
        List<String> implementers = values("/proc/cpuinfo", "CPU implementer");
        List<String> parts = values("/proc/cpuinfo", "CPU part");
        Map<String, Integer> types = new LinkedHashMap<String, Integer>();
        for (int i = 0; i < Math.min(parts.size(), implementers.size()); ++i) {
            String type = "core " + implementers.get(i) + ":" + parts.get(i);
            types.put(type, 1 + (types.containsKey(type) ? types.get(type) : 0));
        }
        if (types.isEmpty()) {
            String model = value("/proc/cpuinfo", "model name");
            return model == null ? machine() : model;
        }
        StringBuilder words = new StringBuilder(now.chip == null ? "" : now.chip + ": ");
        String separator = "";
        for (Map.Entry<String, Integer> type : types.entrySet()) {
            words.append(separator).append(types.size() == 1 ? "" : type.getValue() + "x ").append(type.getKey());
            separator = " + ";
        }
        return words.toString();
    }

    private static List<String> features() {
        String flags = value("/proc/cpuinfo", "flags");
        if (flags == null) flags = value("/proc/cpuinfo", "Features");
        List<String> told = Arrays.asList((flags == null ? "" : flags).split(" "));
        List<String> features = new ArrayList<String>(FEATURES);
        features.retainAll(told);
        return features;
    }

    private static String name(DeviceReadings now) {
        return now.name == null ? machine() + " computer" : now.name;
    }

    /** As uname calls it. */
    private static String machine() {
        String machine = System.getProperty("os.arch");
        return machine.equals("amd64") ? "x86_64" : machine;
    }

    private static Long highest(String item) {
        Long highest = null;
        for (int core : cores()) {
            Long khz = khz(core, item);
            if (khz != null && (highest == null || khz > highest)) highest = khz;
        }
        return highest;
    }

    private static Long khz(int core, String item) {
        String text = read(new File(CORES, "cpu" + core + "/cpufreq/" + item));
        return text == null || !text.matches("[0-9]{1,12}") ? null : Long.valueOf(text);
    }

    private static String value(String file, String key) {
        List<String> values = values(file, key);
        return values.isEmpty() ? null : values.get(values.size() - 1);
    }

    /** The values of every line "key: value". */
    private static List<String> values(String file, String key) {
        List<String> values = new ArrayList<String>();
        String text = read(new File(file));
        for (String line : (text == null ? "" : text).split("\n")) {
            int colon = line.indexOf(':');
            if (colon > 0 && line.substring(0, colon).trim().equals(key)) values.add(line.substring(colon + 1).trim());
        }
        return values;
    }

    /** The file's text without white space at its ends; null where it is not there or not readable. */
    private static String read(File file) {
        try {
            return DataFiles.read(file).trim();
        } catch (IOException error) {
            return null;
        }
    }
}
