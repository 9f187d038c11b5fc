/** Numbers as people read them. */

/** "2.2 MB" */
export function bytes(count) {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  let value = count;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit ? significant(value) : value} ${units[unit]}`;
}

/** Three digits or more: "1,234", "12.3", "0.123". */
export function significant(value) {
  if (value === 0) return "0";
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

/** "1 bit", "1.58 bits" */
export function bits(count) {
  return `${bitsNumber(count)} ${count === 1 ? "bit" : "bits"}`;
}

/** At most two decimals. */
export function bitsNumber(count) {
  return String(Math.round(count * 100) / 100);
}

/** "45 s", "3 min", "1 h 20 min" */
export function duration(seconds) {
  const whole = Math.max(1, Math.round(seconds));
  if (whole < 90) return `${whole} s`;
  const minutes = Math.round(whole / 60);
  return minutes < 90 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** "1,234 tok/s"; a dash for none. */
export function rate(tokensPerSecond) {
  return tokensPerSecond ? `${significant(tokensPerSecond)} tok/s` : "–";
}

/** "3 tokens" */
export function counted(count, noun) {
  return `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
}

/** "today 14:05", "3 Nov" */
export function when(milliseconds) {
  const date = new Date(milliseconds);
  const isToday = date.toDateString() === new Date().toDateString();
  if (isToday) return `today ${date.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" })}`;
  return date.toLocaleDateString("en-GB", { day: "numeric", month: "short" });
}
