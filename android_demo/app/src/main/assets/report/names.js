/** Places for the names of points, so that no name meets a point, another name or the edge. */

const CHARACTER = 6.6; // widths in a chart of font size 12, the bold name included
const CAPITAL = 9;
const LINE = 13;
const RADIUS = 8;

/**
 * @param {{x: number, y: number, least: number, most: number, name: string}[]} points with the ends of their ranges
 * @param {{left: number, top: number, right: number, bottom: number}} box that they stay in
 * @param {number[][]} lines areas that they avoid too: left, top, right and bottom
 */
export function placeNames(points, box, lines) {
  const dots = points.flatMap(({ x, y, least, most }) => [
    [x - RADIUS + 2, y - RADIUS + 2, x + RADIUS - 2, y + RADIUS - 2],
    [least, y - 1, most, y + 1],
  ]);
  const taken = [...lines, ...dots];
  return points.map((point) => {
    const places = candidates(point).filter((place) => isInside(place.area, box));
    const free = places.find((place) => !taken.some((area) => meet(area, place.area)));
    const place = free ?? places[0] ?? candidates(point)[0];
    taken.push(place.area);
    return { ...point, x: place.x, y: place.y, anchor: place.anchor };
  });
}

function candidates({ x, y, least, most, name }) {
  const width = [...name].reduce((sum, one) => sum + (/[A-Z]/.test(one) ? CAPITAL : CHARACTER), 0);
  const places = [
    [x + RADIUS, y + 4, "start"],
    [x, y - RADIUS - 2, "middle"],
    [x - RADIUS, y + 4, "end"],
    [x, y + RADIUS + LINE - 3, "middle"],
    [x + RADIUS, y - RADIUS, "start"],
    [x - RADIUS, y - RADIUS, "end"],
    [x + RADIUS, y + RADIUS + 8, "start"],
    [x - RADIUS, y + RADIUS + 8, "end"],
    [most + RADIUS, y + 4, "start"],
    [least - RADIUS, y + 4, "end"],
    [x, y - RADIUS - LINE, "middle"],
    [x, y + RADIUS + 2 * LINE, "middle"],
  ];
  return places.map(([left, baseline, anchor]) => {
    const start = left - { start: 0, middle: width / 2, end: width }[anchor];
    return { x: left, y: baseline, anchor, area: [start, baseline - LINE + 3, start + width, baseline + 3] };
  });
}

function isInside([left, top, right, bottom], box) {
  return left >= box.left && right <= box.right + 8 && top >= box.top - 10 && bottom <= box.bottom + 2;
}

function meet(a, b) {
  return a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3];
}
