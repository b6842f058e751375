CREATE TABLE declared_script (n int4);
INSERT INTO declared_script VALUES (1);
/* größer */ DELETE FROM declared_script_of_ü;
