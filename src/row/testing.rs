//! Rows made by hand, for tests. Uses: columns, row.

use bytes::{BufMut, BytesMut};
use postgres_types::{IsNull, ToSql, Type};

use super::*;

pub(crate) fn columns(columns: &[(&str, Type)]) -> Arc<Columns> {
    Arc::new(Columns::new(columns.iter().map(|(name, type_)| Column::new(*name, type_.clone())).collect()))
}

/// The body of a DataRow with these values.
pub(crate) fn body(columns: &Columns, values: &[&(dyn ToSql + Sync)]) -> Bytes {
    let mut body = BytesMut::new();
    body.put_u16(values.len().try_into().unwrap());
    for (column, value) in columns.iter().zip(values) {
        let mut bytes = BytesMut::new();
        match value.to_sql_checked(column.type_(), &mut bytes).unwrap() {
            IsNull::Yes => body.put_i32(-1),
            IsNull::No => {
                body.put_i32(bytes.len().try_into().unwrap());
                body.put(bytes);
            }
        }
    }
    body.freeze()
}

/// A row of one column `x` whose value is these bytes.
pub(crate) fn raw_row(type_: Type, value: Option<&[u8]>) -> Row {
    let mut body = BytesMut::new();
    body.put_u16(1);
    body.put_i32(value.map_or(-1, |value| value.len().try_into().unwrap()));
    body.put(value.unwrap_or_default());
    row(&columns(&[("x", type_)]), &body.freeze())
}

pub(crate) fn read<T>(columns: &Arc<Columns>, body: &Bytes, then: impl FnOnce(&RowRef<'_>) -> T) -> T {
    then(&RowReader::new(Arc::clone(columns)).read(body, 0..body.len()).unwrap())
}

pub(crate) fn row(columns: &Arc<Columns>, body: &Bytes) -> Row {
    read(columns, body, |row| row.to_row())
}
