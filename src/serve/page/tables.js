// A table that sorts by any column and filters by text, with rows that are reused: a refresh writes what changed.
import { make, put } from "./words.js";

const SHOWN = 50;

export class Table {
  // columns: {name, of: row => value, show: value => text, number: bool}; the first one names the row.
  constructor(place, label, columns) {
    this.columns = columns;
    this.sort = { column: 0, down: false };
    this.shown = SHOWN;
    this.rows = [];
    const id = `${place.id}-filter`;
    this.filter = make("input", { id, type: "search", placeholder: "part of a name" });
    this.count = make("span");
    this.more = make("button", { type: "button", text: "Show all" });
    this.body = make("tbody");
    this.heads = columns.map((column, index) => {
      const button = make("button", { type: "button", text: column.name });
      button.addEventListener("click", () => this.by(index));
      return make("th", { scope: "col", class: column.number ? "n" : "" }, button);
    });
    const table = make("table", {}, make("thead", {}, make("tr", {}, ...this.heads)), this.body);
    const frame = make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `${label}, a table` }, table);
    place.append(make("div", { class: "tools" }, make("label", { for: id, text: "Filter" }), this.filter, this.count, this.more), frame);
    this.filter.addEventListener("input", () => this.draw());
    this.more.addEventListener("click", () => {
      this.shown = this.shown === SHOWN ? Infinity : SHOWN;
      put(this.more, this.shown === SHOWN ? "Show all" : "Show fewer");
      this.draw();
    });
    this.mark();
  }

  by(index) {
    const { column, down } = this.sort;
    // Numbers are most often wanted from the largest.
    this.sort = { column: index, down: index === column ? !down : Boolean(this.columns[index].number) };
    this.mark();
    this.draw();
  }

  mark() {
    this.heads.forEach((head, index) => {
      const sorted = index === this.sort.column;
      head.setAttribute("aria-sort", sorted ? (this.sort.down ? "descending" : "ascending") : "none");
      put(head.firstChild, this.columns[index].name + (sorted ? (this.sort.down ? " ▾" : " ▴") : ""));
    });
  }

  update(rows) {
    this.rows = rows;
    this.draw();
  }

  draw() {
    const text = this.filter.value.trim().toLowerCase();
    const name = this.columns[0].of;
    const kept = text ? this.rows.filter((row) => String(name(row)).toLowerCase().includes(text)) : this.rows.slice();
    const of = this.columns[this.sort.column].of;
    const sign = this.sort.down ? -1 : 1;
    kept.sort((a, b) => {
      const [x, y] = [of(a), of(b)];
      return sign * (typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y))) || String(name(a)).localeCompare(String(name(b)));
    });
    const shown = kept.slice(0, this.shown);
    while (this.body.rows.length < shown.length) {
      const cells = this.columns.map((column, index) => (index === 0 ? make("th", { scope: "row" }) : make("td", { class: column.number ? "n" : "" })));
      this.body.append(make("tr", {}, ...cells));
    }
    while (this.body.rows.length > shown.length) this.body.lastChild.remove();
    shown.forEach((row, index) => {
      const cells = this.body.rows[index].cells;
      this.columns.forEach((column, at) => {
        const value = column.of(row);
        put(cells[at], column.show ? column.show(value, row) : String(value));
      });
    });
    put(this.count, kept.length > shown.length ? `${shown.length} of ${kept.length}` : `${kept.length}`);
    this.more.hidden = kept.length <= SHOWN;
  }
}
