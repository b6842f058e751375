//! Types of other crates that stand for a row of one column, each behind the feature that postgres-types has for it.
//! Uses: nothing.

/// For each feature, the types that postgres-types reads with it.
macro_rules! foreign {
    ($($feature:literal: $($type:ty),+;)*) => { $( $(
        #[cfg(feature = $feature)]
        impl super::Scalar for $type {}
    )+ )* };
}

foreign! {
    "with-bit-vec-0_6": bit_vec_06::BitVec;
    "with-bit-vec-0_7": bit_vec_07::BitVec;
    "with-bit-vec-0_8": bit_vec_08::BitVec;
    "with-bit-vec-0_9": bit_vec_09::BitVec;
    "with-chrono-0_4": chrono_04::NaiveDateTime, chrono_04::NaiveDate, chrono_04::NaiveTime,
        chrono_04::DateTime<chrono_04::Utc>, chrono_04::DateTime<chrono_04::Local>,
        chrono_04::DateTime<chrono_04::FixedOffset>;
    "with-cidr-0_2": cidr_02::IpCidr, cidr_02::IpInet;
    "with-cidr-0_3": cidr_03::IpCidr, cidr_03::IpInet;
    "with-eui48-0_4": eui48_04::MacAddress;
    "with-eui48-1": eui48_1::MacAddress;
    "with-geo-types-0_6": geo_types_06::Point<f64>, geo_types_06::Rect<f64>, geo_types_06::LineString<f64>;
    "with-geo-types-0_7": geo_types_07::Point<f64>, geo_types_07::Rect<f64>, geo_types_07::LineString<f64>;
    "with-jiff-0_1": jiff_01::civil::DateTime, jiff_01::civil::Date, jiff_01::civil::Time, jiff_01::Timestamp;
    "with-jiff-0_2": jiff_02::civil::DateTime, jiff_02::civil::Date, jiff_02::civil::Time, jiff_02::Timestamp;
    "with-smol_str-01": smol_str_01::SmolStr;
    "with-time-0_2": time_02::PrimitiveDateTime, time_02::OffsetDateTime, time_02::Date, time_02::Time;
    "with-time-0_3": time_03::PrimitiveDateTime, time_03::OffsetDateTime, time_03::Date, time_03::Time;
    "with-uuid-0_8": uuid_08::Uuid;
    "with-uuid-1": uuid_1::Uuid;
}

#[cfg(feature = "array-impls")]
impl<T: super::Scalar, const N: usize> super::Scalar for [T; N] {}
